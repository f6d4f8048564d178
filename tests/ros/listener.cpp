/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener FILE [ROS arguments]: subscribes to "chatter" and records every arrival in FILE as
 *   MONOTONIC_NSEC COUNT
 */
#include <ros/ros.h>
#include <std_msgs/UInt64.h>

#include <cerrno>
#include <cinttypes>
#include <cstring>

#include "record.h"
#include "scan.h"

int main(int argc, char **argv)
{
	ros::init(argc, argv, "listener");
	if (argc != 2) {
		fprintf(stderr, "usage: listener FILE [ROS arguments]\n");
		return 2;
	}
	Record record(argv[1]);
	if (!record.good()) {
		fprintf(stderr, "listener: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	ros::NodeHandle node;
	boost::function<void(const std_msgs::UInt64ConstPtr &)> heard =
		[&record](const std_msgs::UInt64ConstPtr &count) {
			record.line(
				"%" PRIu64 " %" PRIu64 "\n", scan::monotonicNsec(), count->data);
		};
	ros::Subscriber chatter = node.subscribe<std_msgs::UInt64>("chatter", 100, heard);
	ros::spin();
	return 0;
}
