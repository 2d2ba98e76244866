// A LogTable as an Arrow record batch, through the C data interface. No copy: the arrays point into
// the table.
//
// Columns: writer dictionary<int32, utf8>, ring int32, seq int64,
// context list<struct<loop: utf8, index: int64, value: utf8?>>, name dictionary<int32, utf8>, kind
// uint8, num float64?, int int64?, data binary?, external bool, time float64. `?` marks nullable
// columns.
//
// Thread-safety: free functions; the structs belong to whoever holds them, and are released once.
#pragma once

#include <memory>

#include "read/arrow_c.h"
#include "read/log_table.h"

namespace flor {

// Fills `*out`; the caller owns it and calls out->release(out) or moves it.
void export_log_schema(ArrowSchema* out);
// As above; keeps `table` until the array (and every child moved out of it) is released.
void export_log_array(std::shared_ptr<const LogTable> table, ArrowArray* out);

}  // namespace flor
