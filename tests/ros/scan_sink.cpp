/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan_sink FILE [ROS arguments]: subscribes to "points" and records every arrival in FILE as
 *   MONOTONIC_NSEC SCAN_NUMBER SEQ POINTS
 * from which losses, duplicates, disorder and gaps follow. SEQ is the counter in the memory of
 * the last publisher on the way: it shows when that memory has gone back in time.
 */
#include <ros/ros.h>
#include <sensor_msgs/PointCloud2.h>

#include <cerrno>
#include <cinttypes>
#include <cstring>

#include "record.h"
#include "scan.h"

int main(int argc, char **argv)
{
	ros::init(argc, argv, "scan_sink");
	if (argc != 2) {
		fprintf(stderr, "usage: scan_sink FILE [ROS arguments]\n");
		return 2;
	}
	Record record(argv[1]);
	if (!record.good()) {
		fprintf(stderr, "scan_sink: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	ros::NodeHandle node;
	boost::function<void(const sensor_msgs::PointCloud2ConstPtr &)> arrived =
		[&record](const sensor_msgs::PointCloud2ConstPtr &cloud) {
			record.line("%" PRIu64 " %" PRIu64 " %u %u\n", scan::monotonicNsec(),
				scan::number(cloud->header.stamp), cloud->header.seq,
				cloud->width * cloud->height);
		};
	ros::Subscriber points = node.subscribe<sensor_msgs::PointCloud2>("points", 10, arrived);
	ros::spin();
	return 0;
}
