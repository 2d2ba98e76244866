// Reading memory that others own: it may change, or be unmapped, while it is read.
//
// The system copies for us (process_vm_readv), so memory that is gone is an answer and no crash
// (`tensor.resize_` frees what a storage had, whoever holds the storage), and a read beside a
// writer gives bytes that a protocol can throw away (live_unit.h) instead of undefined behaviour.
//
// Thread-safety: free functions without state.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/bytes.h"

namespace flor {

// The whole pages inside, which may be none.
Bytes whole_pages(Bytes live) noexcept;

// Whether this process may do so: some containers forbid the call.
bool can_copy_live() noexcept;

// Fills `to` from the live memory at `from`. False when part of it is not mapped; `to` is void
// then.
bool copy_live(MutableBytes to, const std::byte* from) noexcept;

// Eight evenly spaced words of live memory: what a cheap check looks at. nullopt when part of it is
// not mapped. REQUIRES: at least 8 bytes.
using Sample = std::array<std::uint64_t, 8>;
std::optional<Sample> sample_live(Bytes live) noexcept;
// The same words of memory that holds still.
Sample sample_of(Bytes bytes) noexcept;

}  // namespace flor
