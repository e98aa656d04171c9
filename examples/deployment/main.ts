import { fileURLToPath } from 'node:url';
import { Container, NetNs } from 'netsteer';
import { runInGuest } from '../../test/vm/guest.ts';
import { ensurePackages, isRoot } from '../../test/vm/packages.ts';
import { demo } from './demo.ts';

/** Set in the guest: run on the guest's kernel, and fail if it lacks something. */
const HERE = '--here';
const GUEST_KERNEL = '6.12';

const interrupted = new AbortController();
const SIGNALS: NodeJS.Signals[] = ['SIGINT', 'SIGTERM'];
for (const signal of SIGNALS) {
  process.once(signal, () => interrupted.abort(new Error(`interrupted by ${signal}: taking everything down`)));
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}

async function main(): Promise<number> {
  if (!process.argv.includes(HERE)) {
    await ensurePackages(['runc']);
    const missing = isRoot() ? await missingHere() : 'the caller is not root';
    if (missing !== undefined) {
      console.log(`${missing}: booting Debian's kernel ${GUEST_KERNEL} in QEMU (this takes a minute)`);
      const { exitCode } = await runInGuest({
        kernel: GUEST_KERNEL,
        command: [process.execPath, fileURLToPath(import.meta.url), HERE],
        onOutput: chunk => process.stdout.write(chunk),
        signal: interrupted.signal,
      });
      return exitCode;
    }
  }
  await demo(interrupted.signal);
  return 0;
}

/** The modules that this kernel lacks for the demo. */
async function missingHere(): Promise<string | undefined> {
  using host = Container.open({ netns: NetNs.home() }, { allowHost: true });
  const { abilities } = await host.preflight();
  return abilities.find(ability => !ability.works)?.why;
}
