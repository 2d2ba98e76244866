#include "snapshot/unchanged_memory.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace flor {
namespace {

constexpr std::size_t kPieceBytes = 1 << 20;
// Below, a copy costs less than keeping account.
constexpr std::size_t kMinBytes = 64 << 10;

Bytes head_of(Bytes live, Bytes pages) noexcept {
  return live.first(static_cast<std::size_t>(pages.data() - live.data()));
}

Bytes tail_of(Bytes live, Bytes pages) noexcept {
  return live.subspan(head_of(live, pages).size() + pages.size());
}

}  // namespace

UnchangedMemory::Cut UnchangedMemory::begin(std::span<const Region> regions,
                                            std::span<ContentRef> names) {
  const std::lock_guard lock(mutex_);
  Cut cut;
  cut.number = ++number_;
  private_.reset();
  for (std::size_t i = 0; i < regions.size(); ++i) cut_region(i, regions[i], names[i], cut);
  forget_unmet(cut.number);
  return cut;
}

// Pieces that lie side by side and are captured alike become one run.
void UnchangedMemory::cut_region(std::size_t index, const Region& region, ContentRef& names,
                                 Cut& cut) {
  const bool watch = region.watch && WriteTracker::is_supported();
  const std::size_t step = watch ? kPieceBytes : std::max<std::size_t>(region.bytes.size(), 1);
  bool adjoins = false;
  for (std::size_t begin = 0; begin < region.bytes.size(); begin += step) {
    const Bytes live = region.bytes.subspan(begin, std::min(step, region.bytes.size() - begin));
    const std::size_t chunk = begin / kChunkBytes;
    std::optional<Contract> contract = region.contract;
    if (watch && live.size() >= kMinBytes)
      contract = meet(live, region.contract, chunk, index, names, cut);
    if (!contract) {
      cut.known_bytes += live.size();
      adjoins = false;
    } else if (adjoins && cut.runs.back().contract == *contract) {
      Bytes& run = cut.runs.back().bytes;
      run = {run.data(), run.size() + live.size()};
    } else {
      cut.runs.push_back({live, *contract, chunk});
      cut.regions.push_back(index);
      adjoins = true;
    }
  }
}

std::optional<Contract> UnchangedMemory::meet(Bytes live, Contract contract,
                                              std::size_t first_chunk, std::size_t region,
                                              ContentRef& names, Cut& cut) {
  Piece& piece = pieces_[live.data()];
  if (piece.bytes != live.size()) {
    release(piece);
    piece = {};
    piece.bytes = live.size();
  }
  const bool met_already = std::exchange(piece.met, cut.number) == cut.number;  // by another region
  if (piece.state == State::kKnown) {
    if (is_unchanged(piece, live)) {
      std::copy(piece.names.begin(), piece.names.end(),
                names.chunks.begin() + static_cast<std::ptrdiff_t>(first_chunk));
      return std::nullopt;
    }
    release(piece);
  }
  if (met_already || piece.state == State::kTracked) return Contract::kEager;
  if (piece.state == State::kQuiet) {
    if (track(piece, live)) {
      piece.tracked = cut.number;
      contract = Contract::kEager;
    } else {
      piece.state = State::kSeen;
    }
  }
  cut.met.push_back({live.data(), live.size(), region, first_chunk});
  return contract;
}

bool UnchangedMemory::track(Piece& piece, Bytes live) {
  const Bytes pages = whole_pages(live);
  if (!private_) private_ = PrivateMemory::read();
  if (pages.empty() || !private_->holds(pages)) return false;
  try {
    if (tracker_ == nullptr) tracker_ = std::make_unique<WriteTracker>();
  } catch (const Error&) {  // no more descriptors: it is copied, as without this
    return false;
  }
  if (!tracker_->track(pages)) return false;
  piece.state = State::kTracked;
  piece.pages = pages;
  piece.head = hash128(head_of(live, pages));
  piece.tail = hash128(tail_of(live, pages));
  piece.sample = sample_of(live);
  return true;
}

bool UnchangedMemory::is_unchanged(const Piece& piece, Bytes live) const {
  return tracker_->is_untouched(piece.pages) && piece.head == hash128(head_of(live, piece.pages)) &&
         piece.tail == hash128(tail_of(live, piece.pages)) && piece.sample == sample_of(live);
}

void UnchangedMemory::release(Piece& piece) {
  if (piece.state != State::kTracked && piece.state != State::kKnown) return;
  tracker_->untrack(piece.pages);
  piece.state = State::kSeen;
}

void UnchangedMemory::end(const Cut& cut, const std::vector<ContentRef>* names) {
  const std::lock_guard lock(mutex_);
  for (const Cut::Met& met : cut.met) {
    const auto at = pieces_.find(met.begin);
    if (at == pieces_.end() || at->second.bytes != met.bytes) continue;
    Piece& piece = at->second;
    const bool tracked = piece.state == State::kTracked;
    if (piece.state == State::kKnown || (tracked && piece.tracked != cut.number)) continue;
    if (names == nullptr) {
      release(piece);
      continue;
    }
    const auto first =
        (*names)[met.region].chunks.begin() + static_cast<std::ptrdiff_t>(met.first_chunk);
    const std::vector<ChunkId> found(first,
                                     first + static_cast<std::ptrdiff_t>(chunk_count(met.bytes)));
    if (found == piece.names) {
      piece.state = tracked ? State::kKnown : State::kQuiet;
    } else {
      release(piece);
      piece.state = State::kSeen;
      piece.names = found;
    }
  }
}

void UnchangedMemory::forget_unmet(std::uint64_t number) {
  for (auto each = pieces_.begin(); each != pieces_.end();) {
    if (each->second.met == number) {
      ++each;
      continue;
    }
    release(each->second);
    each = pieces_.erase(each);
  }
}

}  // namespace flor
