#!/bin/busybox sh
# The first process of the machine: this host's root under a writable layer, with the kernel's modules, then the session.
/bin/busybox mkdir -p /proc /sys /dev /ro /rw /new
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod "$module"; done
mount -t tmpfs tmpfs /rw
mkdir /rw/upper /rw/work
options=trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro
mount -t 9p -o $options root /ro
mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work overlay /new
. /settings
mkdir -p "/new/lib/modules/$RELEASE"
mount -t 9p -o $options modules "/new/lib/modules/$RELEASE"
mount -t tmpfs tmpfs /new/run
mount -t tmpfs tmpfs /new/tmp
case $FOLDER in /tmp/*) mkdir -p "/new$FOLDER" && mount -o bind "/ro$FOLDER" "/new$FOLDER" ;; esac
cp /settings /session.sh /files/* /new/run/
for each in proc sys dev; do mount --move /$each /new/$each; done
mkdir -p /new/dev/shm && mount -t tmpfs tmpfs /new/dev/shm
exec switch_root /new /bin/sh /run/session.sh </dev/console >/dev/console 2>&1
