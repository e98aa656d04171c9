/* include/uapi/linux/netfilter/xt_HMARK.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const XT_HMARK_SADDR_MASK = 0;
export const XT_HMARK_DADDR_MASK = 1;
export const XT_HMARK_SPI = 2;
export const XT_HMARK_SPI_MASK = 3;
export const XT_HMARK_SPORT = 4;
export const XT_HMARK_DPORT = 5;
export const XT_HMARK_SPORT_MASK = 6;
export const XT_HMARK_DPORT_MASK = 7;
export const XT_HMARK_PROTO_MASK = 8;
export const XT_HMARK_RND = 9;
export const XT_HMARK_MODULUS = 10;
export const XT_HMARK_OFFSET = 11;
export const XT_HMARK_CT = 12;
export const XT_HMARK_METHOD_L3 = 13;
export const XT_HMARK_METHOD_L3_4 = 14;
