import { ofThread } from '../../thread.ts';

/**
 * Numbers that several kernels in memory on one thread must not share: this library knows namespaces by their inodes, and sockets by their
 * descriptors. They begin far above those of a real kernel, whose inodes of namespaces have 32 bits.
 */
const numbers = ofThread('testing.numbers', { descriptor: 0x4000_0000, inode: 0x1_0000_0000 });

export const nextDescriptor = (): number => ++numbers.descriptor;
export const nextInode = (): number => ++numbers.inode;
