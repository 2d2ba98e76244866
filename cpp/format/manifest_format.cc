#include "format/manifest_format.h"

#include "base/error.h"

namespace flor {
namespace {

constexpr std::size_t kCheckedHeader = kManifestHeaderBytes - 8;

Buffer encode_regions(const std::vector<ContentRef>& regions) {
  ByteWriter out;
  for (const ContentRef& region : regions) {
    out.put(region.nbytes);
    for (const ChunkId& id : region.chunks) put_id(out, id);
  }
  return std::move(out).take();
}

[[noreturn]] void throw_corrupt(const std::string& what, const std::string& path,
                                std::int64_t offset, const std::string& expected,
                                const std::string& found) {
  throw Error(ErrorKind::kCorrupt, what, path, offset, expected, found);
}

void check_header(Bytes file, const std::string& path) {
  if (file.size() < kManifestHeaderBytes)
    throw_corrupt("the checkpoint manifest ends inside its header", path,
                  static_cast<std::int64_t>(file.size()),
                  std::to_string(kManifestHeaderBytes) + " bytes", std::to_string(file.size()));
  if (as_text(file.first(8)) != kManifestMagic)
    throw_corrupt("not a checkpoint manifest", path, 0, std::string(kManifestMagic), "other bytes");
  const auto version = load<std::uint32_t>(file.data() + 8);
  if (version > kManifestVersion)
    throw Error(ErrorKind::kNewerFormat,
                "the checkpoint was written by a newer flor; upgrade flor to read it", path, 8,
                "version " + std::to_string(kManifestVersion) + " or lower",
                std::to_string(version));
  const auto expected = load<std::uint64_t>(file.data() + kCheckedHeader);
  const std::uint64_t found = checksum64(file.first(kCheckedHeader));
  if (expected != found)
    throw_corrupt("the manifest's header fails its checksum", path, 0, std::to_string(expected),
                  std::to_string(found));
}

std::vector<ContentRef> decode_regions(Bytes bytes, std::uint64_t count, const std::string& path,
                                       std::uint64_t at) {
  ByteReader in(bytes);
  std::vector<ContentRef> regions;
  for (std::uint64_t i = 0; i < count && in.ok(); ++i) {
    ContentRef region;
    region.nbytes = in.get<std::uint64_t>();
    const std::uint64_t chunks = chunk_count(region.nbytes);
    if (chunks > in.remaining() / ChunkId::kBytes) break;
    region.chunks.reserve(chunks);
    for (std::uint64_t k = 0; k < chunks; ++k) region.chunks.push_back(get_id(in));
    regions.push_back(std::move(region));
  }
  if (regions.size() != count || !in.ok() || in.remaining() != 0)
    throw_corrupt("the manifest's regions break the grammar", path, static_cast<std::int64_t>(at),
                  std::to_string(count) + " regions", std::to_string(regions.size()));
  return regions;
}

}  // namespace

Buffer encode_manifest(const Manifest& manifest) {
  const Buffer regions = encode_regions(manifest.regions);
  ByteWriter body;
  body.put_bytes(manifest.meta);
  body.put_bytes(regions);
  ByteWriter out;
  out.put_bytes(as_bytes(kManifestMagic));
  out.put(kManifestVersion);
  out.put(kChunkBytes);
  out.put(manifest.meta_raw_bytes);
  out.put(static_cast<std::uint64_t>(manifest.meta.size()));
  out.put(static_cast<std::uint64_t>(regions.size()));
  out.put(static_cast<std::uint64_t>(manifest.regions.size()));
  out.put(manifest.totals.raw_bytes);
  out.put(manifest.totals.stored_bytes);
  out.put(manifest.totals.new_chunks);
  out.put(manifest.totals.dedup_bytes);
  out.put(manifest.totals.time_unix_ns);
  out.put(checksum64(body.view()));
  out.put(std::uint64_t{manifest.meta_codec});
  while (out.size() < kCheckedHeader) out.put(std::uint8_t{0});
  out.put(checksum64(out.view()));
  out.put_bytes(body.view());
  return std::move(out).take();
}

Manifest decode_manifest(Bytes file, const std::string& path) {
  check_header(file, path);
  ByteReader in(file.first(kCheckedHeader).subspan(12));
  Manifest manifest;
  const auto chunk_bytes = in.get<std::uint32_t>();
  manifest.meta_raw_bytes = in.get<std::uint64_t>();
  const auto meta_bytes = in.get<std::uint64_t>(), regions_bytes = in.get<std::uint64_t>(),
             regions = in.get<std::uint64_t>();
  manifest.totals.raw_bytes = in.get<std::uint64_t>();
  manifest.totals.stored_bytes = in.get<std::uint64_t>();
  manifest.totals.new_chunks = in.get<std::uint64_t>();
  manifest.totals.dedup_bytes = in.get<std::uint64_t>();
  manifest.totals.time_unix_ns = in.get<std::int64_t>();
  const auto body_checksum = in.get<std::uint64_t>();
  manifest.meta_codec = static_cast<std::uint8_t>(in.get<std::uint64_t>());
  const Bytes body = file.subspan(kManifestHeaderBytes);
  if (meta_bytes > body.size() || body.size() - meta_bytes != regions_bytes)
    throw_corrupt("the checkpoint manifest is cut or has bytes too many", path,
                  static_cast<std::int64_t>(file.size()),
                  std::to_string(kManifestHeaderBytes + meta_bytes + regions_bytes) + " bytes",
                  std::to_string(file.size()));
  const std::uint64_t found = checksum64(body);
  if (found != body_checksum)
    throw_corrupt("the manifest's body fails its checksum", path, kManifestHeaderBytes,
                  std::to_string(body_checksum), std::to_string(found));
  if (chunk_bytes != kChunkBytes)
    throw_corrupt("the manifest has chunks of an unknown length", path, 12,
                  std::to_string(kChunkBytes), std::to_string(chunk_bytes));
  manifest.meta.assign(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(meta_bytes));
  manifest.regions =
      decode_regions(body.subspan(meta_bytes), regions, path, kManifestHeaderBytes + meta_bytes);
  return manifest;
}

}  // namespace flor
