// Runs something without the GIL.
//
// pybind11's gil_scoped_release takes the GIL back in a destructor. In a daemon thread that
// outlives the interpreter, Python ends the thread inside that call by unwinding its stack, which a
// destructor does not let through: the process would abort at exit. Here the call is in a plain
// function.
#pragma once

#include <Python.h>

#include <exception>
#include <utility>

namespace flor::bindings {

// Calls `body` and rethrows what it threw, with the GIL held again. REQUIRES: the GIL is held.
template <typename Body>
void without_gil(Body body) {
  std::exception_ptr failure;
  PyThreadState* const state = PyEval_SaveThread();
  try {
    body();
  } catch (const std::exception&) {
    failure = std::current_exception();
  }
  PyEval_RestoreThread(state);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace flor::bindings
