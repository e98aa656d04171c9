/* include/uapi/linux/nsfs.h. Generated from the headers of Linux 6.1 and newer by `npm run constants`: do not edit. */
export const NS_GET_NSTYPE = 0xb703;
/** The user namespace that owns a namespace. */
export const NS_GET_USERNS = 0xb701;
/** The user namespace around a user namespace. */
export const NS_GET_PARENT = 0xb702;
/** The user who created a user namespace (Linux 4.11). */
export const NS_GET_OWNER_UID = 0xb704;
