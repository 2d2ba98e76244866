#include <pybind11/stl.h>

#include "base/error.h"
#include "bindings/bindings.h"
#include "bindings/buffer_view.h"
#include "bindings/problems.h"
#include "bindings/progress.h"
#include "bindings/without_gil.h"
#include "store/chunk_store.h"

namespace py = pybind11;

namespace flor::bindings {
namespace {

py::bytes to_python(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

py::dict to_python(const StoreStats& stats) {
  py::dict out;
  out["chunks"] = stats.chunks;
  out["packs"] = stats.packs;
  out["raw_bytes"] = stats.raw_bytes;
  out["stored_bytes"] = stats.stored_bytes;
  out["put_bytes"] = stats.put_bytes;
  out["dedup_bytes"] = stats.dedup_bytes;
  out["dedup_hits"] = stats.dedup_hits;
  out["compared_bytes"] = stats.compared_bytes;
  return out;
}

ContentRef to_ref(const py::bytes& ref) { return decode_ref(as_bytes(std::string_view(ref))); }

py::bytes put(ChunkStore& store, const py::object& buffer) {
  const BufferView view(buffer);
  Buffer ref;
  without_gil([&] { ref = encode_ref(store.put(view.bytes())); });
  return to_python(ref);
}

py::tuple put_many(ChunkStore& store, const py::object& buffer,
                   const std::vector<std::pair<std::uint64_t, std::uint64_t>>& spans) {
  const BufferView view(buffer);
  const Bytes all = view.bytes();
  std::vector<Bytes> contents;
  for (const auto& [start, length] : spans) {
    if (start > all.size() || length > all.size() - start)
      throw Error(ErrorKind::kInvalid, "a span does not lie inside of the buffer");
    contents.push_back(all.subspan(start, length));
  }
  std::vector<ContentRef> refs(contents.size());
  std::uint64_t added = 0;
  without_gil([&] { added = store.put(contents, refs); });
  py::list names;
  for (const ContentRef& ref : refs) names.append(to_python(encode_ref(ref)));
  return py::make_tuple(names, added);
}

void read_into(ChunkStore& store, const py::bytes& ref, const py::object& buffer,
               std::uint64_t offset) {
  const ContentRef content = to_ref(ref);
  const BufferView out(buffer, true);
  without_gil([&] { store.read(content, offset, out.mutable_bytes()); });
}

py::bytes get(ChunkStore& store, const py::bytes& ref) {
  const ContentRef content = to_ref(ref);
  // Read into the bytes object itself; checked first, so that a made-up length takes no memory.
  if (!store.contains(content)) return to_python(store.get(content));  // throws what is missing
  PyObject* const raw = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(content.nbytes));
  if (raw == nullptr) throw py::error_already_set();
  py::bytes out = py::reinterpret_steal<py::bytes>(raw);
  const MutableBytes target{reinterpret_cast<std::byte*>(PyBytes_AS_STRING(raw)), content.nbytes};
  without_gil([&] { store.read(content, 0, target); });
  return out;
}

py::bytes places(ChunkStore& store) {
  ByteWriter out;
  for (const ChunkPlace& place : store.places()) {
    put_id(out, place.id);
    out.put(place.codec);
    out.put(place.pack);
    out.put(place.offset);
    out.put(place.stored_bytes);
    out.put(place.raw_bytes);
  }
  return to_python(out.view());
}

}  // namespace

void bind_store(py::module_& module) {
  py::class_<ChunkStore, std::shared_ptr<ChunkStore>>(
      module, "ChunkStore", "A content-addressed store of chunks, in the folder of a flor store.")
      .def(py::init([](const std::string& root, bool readonly, bool use_index) {
             ChunkStoreOptions options;
             options.readonly = readonly;
             options.use_index = use_index;
             std::shared_ptr<ChunkStore> store;
             without_gil([&] { store = std::make_shared<ChunkStore>(root, options); });
             return store;
           }),
           py::arg("root"), py::kw_only(), py::arg("readonly") = false, py::arg("use_index") = true)
      .def(
          "renew_index", [](ChunkStore& store) { without_gil([&] { store.renew_index(); }); },
          "Write the index file anew, where the store has one or needs one.")
      .def("index_problem", &ChunkStore::index_problem,
           "What is wrong with the index file; None when nothing is.")
      .def("put", &put, py::arg("buffer"),
           "Store the bytes and return their reference; kill -9 does not lose them.")
      .def("put_many", &put_many, py::arg("buffer"), py::arg("spans"),
           "Store spans (start, length) of a buffer, one behind the other in a pack where they are "
           "new; (their references, bytes added to packs).")
      .def("get", &get, py::arg("ref"), "The bytes of a reference, checked.")
      .def("read_into", &read_into, py::arg("ref"), py::arg("buffer"), py::arg("offset") = 0,
           "Fill a writable buffer with the bytes of a reference from `offset` on, checked.")
      .def(
          "contains",
          [](ChunkStore& store, const py::bytes& ref) { return store.contains(to_ref(ref)); },
          py::arg("ref"), "Whether every chunk of a reference is known.")
      .def(
          "sync", [](ChunkStore& store) { without_gil([&] { store.sync(); }); },
          "Make what was put durable.")
      .def(
          "close", [](ChunkStore& store) { without_gil([&] { store.close(); }); },
          "Seal the packs and end all use.")
      .def(
          "stats", [](ChunkStore& store) { return to_python(store.stats()); },
          "Counts of the store and of its use.")
      .def(
          "verify",
          [](ChunkStore& store, const py::object& progress) {
            std::vector<StoreProblem> problems;
            const Progress tell = progress_to(progress);
            without_gil([&] { problems = store.verify(tell); });
            return bindings::to_python(problems);
          },
          py::arg("progress") = py::none(),
          "Re-read every chunk; a list of dicts (path, offset, id, problem, covered: another copy "
          "is whole), empty when all is well. progress(done, total) in bytes.")
      .def("packs", &ChunkStore::pack_paths, "The paths of the packs, by their numbers.")
      .def("places", &places,
           "Where each chunk lies, packed: id (17 bytes), u8 codec, u32 pack, u64 offset, u32 "
           "stored, u32 raw bytes.")
      .def_static(
          "id_text",
          [](const py::bytes& id) {
            const Bytes bytes = as_bytes(std::string_view(id));
            if (bytes.size() != ChunkId::kBytes)
              throw Error(ErrorKind::kInvalid, "a chunk's name has 17 bytes");
            ByteReader in(bytes);
            return to_text(get_id(in));
          },
          py::arg("id"), "A chunk's name as messages show it.")
      .def_property_readonly("root", &ChunkStore::root);
}

}  // namespace flor::bindings
