// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
// An RDMA device of one InfiniBand port that carries nothing, on QEMU's "edu" PCI function. Unlike the kernel's own devices made of
// software it may be moved to another network namespace, since it can be taken from the programs that have it open. For Linux 6.1.
#include <linux/module.h>
#include <linux/pci.h>
#include <rdma/ib_verbs.h>
#include <rdma/ib_addr.h>

#define GUID cpu_to_be64(0x0002c90300a1b2c3ULL)

static bool active = true;
module_param(active, bool, 0644);
MODULE_PARM_DESC(active, "whether the port is up");

static struct ib_device *hca;
static struct pci_dev *function;

static int query_device(struct ib_device *device, struct ib_device_attr *attr, struct ib_udata *udata)
{
	memset(attr, 0, sizeof(*attr));
	attr->sys_image_guid = GUID;
	attr->max_pkeys = 1;
	return 0;
}

static int query_port(struct ib_device *device, u32 port, struct ib_port_attr *attr)
{
	attr->state = active ? IB_PORT_ACTIVE : IB_PORT_DOWN;
	attr->phys_state = active ? IB_PORT_PHYS_STATE_LINK_UP : IB_PORT_PHYS_STATE_POLLING;
	attr->max_mtu = IB_MTU_4096;
	attr->active_mtu = IB_MTU_4096;
	attr->gid_tbl_len = 1;
	attr->pkey_tbl_len = 1;
	attr->active_width = IB_WIDTH_4X;
	attr->active_speed = IB_SPEED_EDR;
	attr->lid = 1;
	attr->sm_lid = 1;
	return 0;
}

static int get_port_immutable(struct ib_device *device, u32 port, struct ib_port_immutable *immutable)
{
	immutable->core_cap_flags = RDMA_CORE_PORT_IBA_IB;
	immutable->gid_tbl_len = 1;
	immutable->pkey_tbl_len = 1;
	return 0;
}

static enum rdma_link_layer get_link_layer(struct ib_device *device, u32 port)
{
	return IB_LINK_LAYER_INFINIBAND;
}

static int query_gid(struct ib_device *device, u32 port, int index, union ib_gid *gid)
{
	gid->global.subnet_prefix = cpu_to_be64(0xfe80000000000000ULL);
	gid->global.interface_id = GUID;
	return 0;
}

static int query_pkey(struct ib_device *device, u32 port, u16 index, u16 *pkey)
{
	*pkey = 0xffff;
	return 0;
}

static int alloc_ucontext(struct ib_ucontext *context, struct ib_udata *udata)
{
	return 0;
}

static void leave_ucontext(struct ib_ucontext *context)
{
}

static const struct ib_device_ops operations = {
	.owner = THIS_MODULE,
	.driver_id = RDMA_DRIVER_UNKNOWN,
	.uverbs_abi_ver = 1,
	.query_device = query_device,
	.query_port = query_port,
	.get_port_immutable = get_port_immutable,
	.get_link_layer = get_link_layer,
	.query_gid = query_gid,
	.query_pkey = query_pkey,
	.alloc_ucontext = alloc_ucontext,
	.dealloc_ucontext = leave_ucontext,
	.disassociate_ucontext = leave_ucontext,
	.size_ib_ucontext = sizeof(struct ib_ucontext),
};

static int __init begin(void)
{
	int error = -ENOMEM;

	function = pci_get_device(0x1234, 0x11e8, NULL);
	if (!function)
		return -ENODEV;
	hca = _ib_alloc_device(sizeof(*hca));
	if (!hca)
		goto put;
	hca->node_type = RDMA_NODE_IB_CA;
	hca->node_guid = GUID;
	hca->phys_port_cnt = 1;
	hca->num_comp_vectors = 1;
	hca->dev.parent = &function->dev;
	ib_set_device_ops(hca, &operations);
	error = ib_register_device(hca, "hca%d", NULL);
	if (!error)
		return 0;
	ib_dealloc_device(hca);
put:
	pci_dev_put(function);
	return error;
}

static void __exit end(void)
{
	ib_unregister_device(hca);
	ib_dealloc_device(hca);
	pci_dev_put(function);
}

module_init(begin);
module_exit(end);
MODULE_LICENSE("Dual BSD/GPL");
MODULE_DESCRIPTION("An RDMA device for tests, on QEMU's edu function");
