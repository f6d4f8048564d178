/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A LiDAR as a ROS node: 64 beams x 1800 azimuths, 115,200 points or 1.8 MB a scan, ten scans
 * a second on "points_raw". Like a real sensor it turns whether or not anybody looks: the scan
 * number follows the clock, so a scan that was not sent in its time is a lost scan.
 * The world is a street between house fronts; scan n is always the same cloud as scan n + 8.
 */
#include <ros/ros.h>
#include <sensor_msgs/PointCloud2.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <vector>

#include "scan.h"

namespace
{

constexpr int kBeams = 64, kAzimuths = 1800, kScenes = 8;
constexpr double kSensorHeight = 1.8, kMaxRange = 90.0;

struct Point {
	float x, y, z, intensity;
};

double radians(double degrees)
{
	return degrees * M_PI / 180.0;
}

/* How far a ray flies: to the ground, a house front (a step back every 12 m) or the horizon. */
double range(double azimuth, double elevation, double travelled)
{
	double flat = std::cos(elevation), down = -std::sin(elevation);
	double r = down > 0 ? std::min(kMaxRange, kSensorHeight / down) : kMaxRange;
	double side = std::fabs(std::sin(azimuth)) * flat;
	if (side < 1e-6)
		return r;
	double along = 8.0 * std::cos(azimuth) / std::fabs(std::sin(azimuth)) + travelled;
	double front = std::fmod(std::fabs(along), 24.0) < 12.0 ? 8.0 : 10.5;
	return std::min(r, front / side);
}

sensor_msgs::PointCloud2 emptyCloud()
{
	sensor_msgs::PointCloud2 c;
	const char *names[] = {"x", "y", "z", "intensity"};
	for (unsigned i = 0; i < 4; i++) {
		sensor_msgs::PointField f;
		f.name = names[i];
		f.offset = i * sizeof(float);
		f.datatype = sensor_msgs::PointField::FLOAT32;
		f.count = 1;
		c.fields.push_back(f);
	}
	c.header.frame_id = "lidar";
	c.height = kBeams;
	c.width = kAzimuths;
	c.point_step = sizeof(Point);
	c.row_step = c.point_step * c.width;
	c.is_dense = true;
	c.data.resize(size_t(c.row_step) * c.height);
	return c;
}

sensor_msgs::PointCloud2 scene(int index)
{
	sensor_msgs::PointCloud2 c = emptyCloud();
	uint8_t *at = c.data.data();
	for (int b = 0; b < kBeams; b++) {
		double elevation = radians(-24.8 + 26.8 * b / (kBeams - 1));
		for (int a = 0; a < kAzimuths; a++) {
			double azimuth = radians(360.0 * a / kAzimuths);
			double r = range(azimuth, elevation, index * 3.0);
			Point p = {float(r * std::cos(elevation) * std::cos(azimuth)),
				float(r * std::cos(elevation) * std::sin(azimuth)),
				float(r * std::sin(elevation)), float(r / kMaxRange)};
			memcpy(at, &p, sizeof(p));
			at += sizeof(p);
		}
	}
	return c;
}

void sleepUntil(uint64_t nsec)
{
	struct timespec t = {time_t(nsec / scan::kNsec), long(nsec % scan::kNsec)};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr) == EINTR)
		;
}

} // namespace

int main(int argc, char **argv)
{
	ros::init(argc, argv, "lidar_source");
	ros::NodeHandle node;
	ros::Publisher points = node.advertise<sensor_msgs::PointCloud2>("points_raw", 2);
	std::vector<sensor_msgs::PointCloud2> scenes;
	for (int i = 0; i < kScenes; i++)
		scenes.push_back(scene(i));

	ros::AsyncSpinner spinner(1);
	spinner.start();
	const uint64_t start = scan::monotonicNsec();
	while (ros::ok()) {
		uint64_t number = (scan::monotonicNsec() - start) / scan::kPeriodNsec + 1;
		sleepUntil(start + number * scan::kPeriodNsec);
		sensor_msgs::PointCloud2 &cloud = scenes[number % kScenes];
		cloud.header.stamp = scan::stamp(number);
		points.publish(cloud);
	}
	return 0;
}
