/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What lidar_source and scan_sink agree on: scan n carries the stamp n x 100 ms, so that a
 * scan is known by its number at any place of the graph (header.seq is rewritten by every
 * publisher, and pcl keeps stamps in microseconds). Numbers start at 1.
 */
#include <ros/time.h>

#include <cstdint>
#include <ctime>

namespace scan
{

constexpr uint64_t kNsec = 1000000000;
constexpr uint64_t kPeriodNsec = kNsec / 10;

inline ros::Time stamp(uint64_t number)
{
	ros::Time t;
	return t.fromNSec(number * kPeriodNsec);
}

inline uint64_t number(const ros::Time &stamp)
{
	return (stamp.toNSec() + kPeriodNsec / 2) / kPeriodNsec;
}

inline uint64_t monotonicNsec()
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return uint64_t(t.tv_sec) * kNsec + uint64_t(t.tv_nsec);
}

} // namespace scan
