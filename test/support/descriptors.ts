import fs from 'node:fs';

/** What this process has open, by what it leads to. */
export function openDescriptors(): string[] {
  return fs
    .readdirSync('/proc/self/fd')
    .map(fd => {
      try {
        return fs.readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        // The directory itself, by now closed.
        return '';
      }
    })
    .filter(Boolean)
    .sort();
}

/** What is open now and was not `before`: closing goes on elsewhere, and what was being closed then may have gone meanwhile. */
export function descriptorsSince(before: readonly string[]): string[] {
  const left = [...before];
  return openDescriptors().filter(each => {
    const at = left.indexOf(each);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}
