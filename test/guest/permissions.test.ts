import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RuncContainer } from '../../examples/deployment/runc.ts';
import { scratchFolder } from '../support/bundle.ts';
import { CleanUps } from '../support/clean-ups.ts';
import { type Caller, PERMISSIONS, type Permitted, probe } from '../support/permissions.ts';
import { kernelSuite } from '../support/where.ts';

kernelSuite('the table of permissions', () => {
  const cleanUps = new CleanUps();
  const measured = new Map<Caller, Permitted>();
  let netsteer = '';
  let pids: number[] = [];

  /** A folder with the built package, which root of a user namespace may read. */
  function packageFolder(): string {
    const folder = scratchFolder(cleanUps);
    const modules = join(folder, 'node_modules');
    for (const name of ['koffi', '@koromix'])
      fs.cpSync(join('node_modules', name), join(modules, name), { recursive: true });
    for (const name of ['dist', 'package.json']) fs.cpSync(name, join(modules, 'netsteer', name), { recursive: true });
    return folder;
  }

  /** Runs the probe on the host, behind another program. */
  const onHost = (wrapper: string[], options: { drop?: boolean }): Permitted[] => {
    const program = [process.execPath, '-e', probe(netsteer, { ...options, pids })];
    const [file, ...parameters] = [...wrapper, ...program];
    return JSON.parse(execFileSync(file!, parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }));
  };

  beforeAll(async () => {
    // Loaded while a namespace that used IPVS ends, these two make the kernel wait for ever: see docs/ipvs.md.
    execFileSync('modprobe', ['-a', 'ip_vs', 'ip_vs_rr', 'ip_vs_lblc', 'ip_vs_lblcr']);
    const folder = packageFolder();
    netsteer = join(folder, 'node_modules/netsteer/dist/index.js');
    const program = probe(netsteer, { stay: true });
    const mounts = [folder];
    const [privileged, mapped, weak] = await Promise.all([
      RuncContainer.start('privileged', program, { privileged: true, mounts }),
      RuncContainer.start('mapped', program, { mounts }),
      RuncContainer.start('weak', program, { mounts, capabilities: [] }),
    ]);
    for (const container of [privileged, mapped, weak]) cleanUps.add(() => container.stop());
    const [inPrivileged] = JSON.parse(privileged.said);
    const [inMapped] = JSON.parse(mapped.said);
    const [inWeak] = JSON.parse(weak.said);
    measured.set('inside a privileged container, root with CAP_NET_ADMIN', inPrivileged);
    measured.set('inside a container with a user namespace of its own, root with CAP_NET_ADMIN', inMapped);
    measured.set('inside either, without CAP_NET_ADMIN', inWeak);

    pids = [privileged.pid, mapped.pid];
    const [toPrivileged, toMapped] = onHost([], {});
    measured.set('root on the host, in a privileged container', toPrivileged!);
    measured.set('root on the host, in a container with a user namespace of its own', toMapped!);
    const few = '+net_admin,+sys_admin,+sys_ptrace';
    const nobody = ['--reuid=65534', '--regid=65534', '--clear-groups', `--inh-caps=${few}`, `--ambient-caps=${few}`];
    const others = onHost(['setpriv', ...nobody], {});
    expect(others[1]).toEqual(others[0]);
    measured.set(
      'another user on the host with CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_SYS_PTRACE, in either',
      others[0]!,
    );
    const [dropped] = onHost([], { drop: true });
    measured.set('root who has opened all of it and has then become another user', dropped!);
  });

  afterAll(() => cleanUps.run());

  it.each(Object.entries(PERMISSIONS))('is what this kernel allows: %s', (caller, expected) => {
    expect(measured.get(caller as Caller)).toEqual(expected);
  });
});
