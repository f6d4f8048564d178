# SPDX-License-Identifier: Apache-2.0
"""A rospy node that publishes on /letters twenty times a second, messages of many sizes; from
SIGUSR1 on it is silent, and answers all else as before. Says "heard" when that has lasted for two
seconds with somebody listening."""
import signal

import rospy
from std_msgs.msg import String

silent = False


def on_signal(_signum, _frame):
    global silent
    silent = True


rospy.init_node("publisher")
signal.signal(signal.SIGUSR1, on_signal)
letters = rospy.Publisher("letters", String, queue_size=100)
rate = rospy.Rate(20)
n = heard = 0
while not rospy.is_shutdown():
    n += 1
    if not silent:
        letters.publish("x" * (n * 7919 % 100000))
    heard += letters.get_num_connections() > 0
    if heard == 40:
        print("heard", flush=True)
    rate.sleep()
