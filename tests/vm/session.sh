# Runs the scenario as the only user of the machine, and switches it off: the first process must never end.
. /run/settings
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH
/lib/systemd/systemd-udevd --daemon
ip link set lo up
stty -F /dev/ttyS1 raw -echo
cd "$FOLDER" && "$PYTHON" -m "$SCENARIO" >/dev/ttyS1
echo "the scenario ended with exit code $?"
echo o >/proc/sysrq-trigger
while :; do sleep 1; done
