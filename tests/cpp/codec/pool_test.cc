#include "codec/pool.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"

namespace flor {

TEST_CASE("pooling: means and maxima of cells, smaller ones at the edge") {
  const std::vector<float> map{1, 2, 3,  //
                               4, 5, 6,  //
                               7, 8, 90};
  std::vector<float> out(4);
  const float error = pool_maps(map, {3, 3}, 2, false, out);
  REQUIRE(out == std::vector<float>{3, 4.5F, 7.5F, 90});
  REQUIRE(error == 2);
  REQUIRE(pool_maps(map, {3, 3}, 2, true, out) == 4);
  REQUIRE(out == std::vector<float>{5, 6, 8, 90});
}

TEST_CASE("pooling: several maps, whole maps, numbers that are none") {
  std::vector<float> maps(2 * 4 * 4, 1);
  maps[16] = 17;
  std::vector<float> out(2);
  REQUIRE(pool_maps(maps, {4, 4}, 4, false, out) == 15);
  REQUIRE(out == std::vector<float>{1, 2});
  maps[3] = std::numeric_limits<float>::quiet_NaN();
  REQUIRE(std::isinf(pool_maps(maps, {4, 4}, 4, true, out)));
  REQUIRE(std::isnan(out[0]));
  REQUIRE(out[1] == 17);
}

TEST_CASE("pooling: what does not fit is refused") {
  std::vector<float> maps(10), out(4);
  REQUIRE_THROWS_AS(pool_maps(maps, {3, 3}, 2, false, out), Error);
  REQUIRE_THROWS_AS(pool_maps(maps, {1, 10}, 0, false, out), Error);
}

}  // namespace flor
