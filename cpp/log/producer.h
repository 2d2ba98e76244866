// The logging side of one thread: encodes records into its ring. This is the hot path.
//
// A producer outlives its thread: when a thread ends, the next new thread takes the producer over
// with its ring, ids and sequence, so a program that starts threads all the time does not grow.
//
// What a full ring does: try_log() says kFull, and the caller decides to wait. wait_for_space()
// waits for a drainer that works, however slow, and returns false at once for one that fails or is
// gone; then the caller gives the record up with drop(), which counts it and leaves a gap in the
// sequence.
//
// Thread-safety: everything but `counters()` belongs to the thread that holds the producer.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "format/record_frame.h"
#include "log/doorbell.h"
#include "log/ring.h"

namespace flor {

// What the drainer tells the producers; shared by all of a writer.
struct DrainState {
  enum Value : std::uint32_t { kWorking, kFailing, kGone };
  std::atomic<std::uint32_t> value{kWorking};
  Doorbell bell;
};

class Producer {
 public:
  enum class Outcome { kLogged, kFull, kTooLarge, kTooManyIds };
  struct Counters {
    std::atomic<std::uint64_t> records{0}, waits{0}, wait_ns{0}, lost{0};
  };

  Producer(std::unique_ptr<Ring> ring, std::uint32_t ring_id, DrainState& state) noexcept
      : ring_(std::move(ring)), ring_id_(ring_id), state_(state) {}

  // Finds or defines the id of a name. kLogged means `id` is set.
  Outcome name_id(std::string_view name, std::uint32_t& id) noexcept;
  // Defines a context: iteration `index` of loop `loop` (a name id) inside `parent` (0 = top).
  // `value` is JSON text or empty.
  Outcome define_context(std::uint32_t parent, std::uint32_t loop, std::int64_t index,
                         std::string_view value, std::uint32_t& id) noexcept;
  // Writes one record with the time now. REQUIRES: is_record_kind(kind), a payload of the width
  // that the kind demands, and ids of this producer.
  Outcome try_log(std::uint8_t kind, std::uint32_t name, std::uint32_t context,
                  Bytes payload) noexcept;

  // Waits until about `payload_bytes` fit, at most `slice`. True: try again. False: give up.
  bool wait_for_space(std::size_t payload_bytes, std::chrono::milliseconds slice) noexcept;
  // Gives one record up.
  void drop() noexcept;

  // The largest payload: a quarter of the ring less a frame header.
  std::size_t max_payload_bytes() const noexcept { return max_payload_; }
  std::uint32_t ring_id() const noexcept { return ring_id_; }
  Ring& ring() noexcept { return *ring_; }
  const Counters& counters() const noexcept { return counters_; }

 private:
  struct NameHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  Outcome write(const FrameFields& fields, Bytes payload) noexcept;

  const std::unique_ptr<Ring> ring_;
  const std::uint32_t ring_id_;
  const std::size_t max_payload_ = ring_->capacity() / 4 - kFrameHeaderBytes;
  DrainState& state_;
  std::uint64_t next_seq_ = 0;
  std::uint32_t next_context_ = 1;
  std::unordered_map<std::string, std::uint32_t, NameHash, std::equal_to<>> names_;
  Counters counters_;
};

}  // namespace flor
