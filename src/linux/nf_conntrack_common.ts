/* include/uapi/linux/netfilter/nf_conntrack_common.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const IP_CT_ESTABLISHED = 0;
export const IP_CT_RELATED = 1;
export const IP_CT_NEW = 2;
export const IP_CT_IS_REPLY = 3;

export const IPS_EXPECTED = 0x1;
export const IPS_SEEN_REPLY = 0x2;
export const IPS_ASSURED = 0x4;
export const IPS_CONFIRMED = 0x8;
export const IPS_SRC_NAT = 0x10;
export const IPS_DST_NAT = 0x20;
export const IPS_SEQ_ADJUST = 0x40;
export const IPS_SRC_NAT_DONE = 0x80;
export const IPS_DST_NAT_DONE = 0x100;
export const IPS_DYING = 0x200;
export const IPS_FIXED_TIMEOUT = 0x400;
export const IPS_TEMPLATE = 0x800;
export const IPS_UNTRACKED = 0x1000;
export const IPS_HELPER = 0x2000;
export const IPS_OFFLOAD = 0x4000;
export const IPS_HW_OFFLOAD = 0x8000;

export const NF_CT_EXPECT_PERMANENT = 1;
export const NF_CT_EXPECT_INACTIVE = 2;
export const NF_CT_EXPECT_USERSPACE = 4;

export const NF_CT_STATE_INVALID_BIT = 0x1;
export const NF_CT_STATE_UNTRACKED_BIT = 0x40;

export const IPCT_NEW = 0;
export const IPCT_RELATED = 1;
export const IPCT_DESTROY = 2;
export const IPCT_REPLY = 3;
export const IPCT_ASSURED = 4;
export const IPCT_PROTOINFO = 5;
export const IPCT_HELPER = 6;
export const IPCT_MARK = 7;
export const IPCT_NATSEQADJ = 8;
export const IPCT_SECMARK = 9;

export const IPEXP_NEW = 0;
export const IPEXP_DESTROY = 1;
