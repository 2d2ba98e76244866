#include "bindings/bindings.h"
#include "bindings/errors.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The storage core of flor. Private: use the flor package.";
  flor::bindings::register_errors(module);
  flor::bindings::bind_log(module);
  flor::bindings::bind_codec(module);
  flor::bindings::bind_intermediate(module);
  flor::bindings::bind_store(module);
  flor::bindings::bind_sweep(module);
  flor::bindings::bind_snapshot(module);
  flor::bindings::bind_read(module);
  flor::bindings::bind_log_read(module);
  flor::bindings::bind_audit(module);
  flor::bindings::bind_identity(module);
  flor::bindings::bind_regions(module);
}
