/* SPDX-License-Identifier: Apache-2.0 */
/* talker: counts on "chatter", from 1, ten times a second (parameter ~rate). */
#include <ros/ros.h>
#include <std_msgs/UInt64.h>

int main(int argc, char **argv)
{
	ros::init(argc, argv, "talker");
	ros::NodeHandle node;
	ros::Publisher chatter = node.advertise<std_msgs::UInt64>("chatter", 100);
	ros::WallRate rate(ros::NodeHandle("~").param("rate", 10.0));
	std_msgs::UInt64 count;
	while (ros::ok()) {
		count.data++;
		chatter.publish(count);
		ros::spinOnce();
		rate.sleep();
	}
	return 0;
}
