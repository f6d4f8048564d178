#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Make pcl_ros' nodelets loadable:  tools/demo/pcl-plugins.sh FOLDER
# Debian ships the plugin library and its description, but the package.xml by which pluginlib
# finds them is only in the development package, and pluginlib never looks into the multiarch
# folder. So make a package of links to both; put FOLDER on ROS_PACKAGE_PATH.
set -eu

[ $# -eq 1 ] || {
	echo "usage: $0 FOLDER" >&2
	exit 2
}
package=$1/pcl_ros
description=/usr/share/pcl_ros/plugins/nodelet/libpcl_ros_filters.xml
library=
for f in /usr/lib/*/libpcl_ros_filters.so.* /usr/lib/libpcl_ros_filters.so.*; do
	[ -e "$f" ] && library=$f && break
done
if [ -z "$library" ] || [ ! -r "$description" ]; then
	echo "$0: pcl_ros' filters are not installed (package libpcl-ros-filters0d)" >&2
	exit 1
fi
mkdir -p "$package/lib"
ln -sf "$library" "$package/lib/libpcl_ros_filters.so"
ln -sf "$description" "$package/nodelets.xml"
cat >"$package/package.xml" <<XML
<package format="2">
  <name>pcl_ros</name>
  <version>0.0.0</version>
  <description>Where pcl_ros' nodelets are</description>
  <maintainer email="root@localhost">nobody</maintainer>
  <license>BSD</license>
  <depend>nodelet</depend>
  <export><nodelet plugin="\${prefix}/nodelets.xml"/></export>
</package>
XML
