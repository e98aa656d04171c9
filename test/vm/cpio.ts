/** One member of an initramfs: a directory, a file with its content, or a character device. */
export type CpioEntry =
  | { readonly path: string; readonly kind: 'directory' }
  | { readonly path: string; readonly kind: 'file'; readonly content: Uint8Array | string; readonly mode?: number }
  | { readonly path: string; readonly kind: 'device'; readonly major: number; readonly minor: number };

const TYPE_BITS = { directory: 0o040755, file: 0o100000, device: 0o020600 } as const;
const TRAILER = 'TRAILER!!!';

/**
 * Writes an archive in the kernel's initramfs format (cpio "newc"), everything owned by root.
 *
 * Written by hand because a fresh Debian has no cpio, and because a device node (/dev/console, without which the
 * first script would run mute) can be archived this way by any user.
 *
 * @param entries members in order; a directory has to come before what it contains
 * @returns the archive, not compressed: under emulation the guest loads plain bytes faster than it inflates them
 */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const parts = entries.map((entry, index) => {
    const content = entry.kind === 'file' ? Buffer.from(entry.content as string) : Buffer.alloc(0);
    const mode = TYPE_BITS[entry.kind] | (entry.kind === 'file' ? (entry.mode ?? 0o644) : 0);
    const device = entry.kind === 'device' ? [entry.major, entry.minor] : [0, 0];
    return member(index + 1, mode, device, entry.path, content);
  });
  return Buffer.concat([...parts, member(0, 0, [0, 0], TRAILER, Buffer.alloc(0))]);
}

function member(inode: number, mode: number, device: number[], path: string, content: Buffer): Buffer {
  const name = Buffer.from(`${path}\0`);
  const [rmajor = 0, rminor = 0] = device;
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, rmajor, rminor, name.length, 0];
  const header = `070701${fields.map(field => field.toString(16).padStart(8, '0')).join('')}`;
  return Buffer.concat([pad(Buffer.concat([Buffer.from(header), name])), pad(content)]);
}

function pad(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
