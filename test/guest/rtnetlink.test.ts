/* The same tests as on the host, which has fewer kinds of links: kernels differ in what they acknowledge and ignore. */
import '../kernel/rtnetlink-addresses.test.ts';
import '../kernel/rtnetlink-monitor.test.ts';
import '../kernel/rtnetlink-rules.test.ts';
import '../kernel/rtnetlink-settings.test.ts';
