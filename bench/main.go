// Command bench measures Arca beside what bounds it and prints ratios: everything it
// compares runs interleaved in one run, on the same machine, against the same load
// generator, which signs its requests ahead of time.
//
//	echo     net/http answering the same bytes: what HTTP itself costs
//	synced   the echo with one line appended and synced per reply: what the promise
//	         costs that no secret leaves before its audit record is on disk
//	etcd     the echo issuing one etcd transaction of as many puts per request: what a
//	         durable write costs
//	arca     the server as it is installed, with everything on
//	no tree  the same server built without the Merkle tree over the audit log and without
//	         checkpoints, which no setting switches off: what proofs cost
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"text/tabwriter"
	"time"
)

type options struct {
	serve       string
	arca        string
	noTree      string
	tree        bool
	connections int
	rounds      int
	length      time.Duration
	secrets     int
	rotate      int
	sinks       bool
	lookup      int
	lookupDir   string
}

func main() {
	var o options
	flag.StringVar(&o.serve, "serve", "", "internal: be one of the reference servers")
	flag.StringVar(&o.arca, "arca", "bin/arca", "the arca binary to measure")
	flag.StringVar(&o.noTree, "no-tree", "", "the arca binary built with the tag bench_notree; empty leaves its row out")
	flag.BoolVar(&o.tree, "tree", false, "measure reads with and without the tree, and nothing else; needs -no-tree")
	flag.IntVar(&o.connections, "connections", 64, "connections of the load generator")
	flag.IntVar(&o.rounds, "rounds", 5, "how often everything is measured, in turns")
	flag.DurationVar(&o.length, "length", 2*time.Second, "length of one measurement")
	flag.IntVar(&o.secrets, "secrets", 1000, "secrets that are read")
	flag.IntVar(&o.rotate, "rotate", 0, "measure reads while this many secrets fall due for rotation, and nothing else")
	flag.IntVar(&o.lookup, "lookup", 0, "measure finding events among this many, and nothing else")
	flag.StringVar(&o.lookupDir, "lookup-dir", "", "where -lookup keeps its log, which is used again if it is there; empty makes one and removes it")
	flag.BoolVar(&o.sinks, "sinks", false, "measure reads beside sinks of the audit log that hang and refuse, and nothing else")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch {
	case o.serve != "":
		err = serve(ctx, o.serve)
	case o.tree:
		err = tree(ctx, o)
	case o.lookup > 0:
		err = lookups(ctx, o)
	case o.sinks:
		err = sinks(ctx, o)
	case o.rotate > 0:
		err = rotations(ctx, o)
	default:
		err = run(ctx, o)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	fmt.Printf("%d cores, %s, %s/%s; %d connections, %d rounds of %v, all servers on this machine with the load generator\n\n",
		runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, o.connections, o.rounds, o.length)

	refs := make(map[string]*process)
	defer func() {
		for _, p := range refs {
			p.stop()
		}
	}()
	for _, kind := range []string{"echo", "synced", "etcd"} {
		p, err := startReference(ctx, kind)
		if err != nil {
			return err
		}
		refs[kind] = p
	}
	server, err := startArca(ctx, o.arca)
	if err != nil {
		return err
	}
	defer server.stop()
	if o.noTree != "" {
		if refs["no tree"], err = startArca(ctx, o.noTree); err != nil {
			delete(refs, "no tree")
			return err
		}
	}
	starts, err := measureStarts(ctx, o.arca, 9)
	if err != nil {
		return err
	}
	idle, err := server.rss()
	if err != nil {
		return err
	}
	fmt.Printf("arca dev: start to first answered request %v (median of 9), idle memory %.0f MB\n\n", starts.Round(time.Millisecond), float64(idle)/1e6)

	sets, err := prepare(ctx, o, server, refs)
	if err != nil {
		return err
	}
	results, err := measure(ctx, o, sets)
	if err != nil {
		return err
	}
	report(results)
	return nil
}

// report prints medians, spreads and the ratio of each row to its references.
func report(rs []*result) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\trequests/s\tspread\tp50\tp99\tCPU/request\t")
	byName := make(map[string]*result)
	for _, r := range rs {
		byName[r.name] = r
		fmt.Fprintf(w, "%s\t%.0f\t±%.0f %%\t%v\t%v\t%v\t\n", r.name, r.median(), r.spread(),
			r.quantile(0.50).Round(10*time.Microsecond), r.quantile(0.99).Round(10*time.Microsecond),
			(r.cpu / time.Duration(len(r.times))).Round(time.Microsecond))
	}
	_ = w.Flush()
	fmt.Println()
	for _, pair := range [][3]string{
		{"arca GetSecretValue", "echo", "0.45"}, {"arca GetSecretValue", "synced echo", ""},
		{"arca GetSecretValue", withoutTree, "0.95"}, {"arca GetSecretValue", withoutSinks, ""},
		{"synced echo", "echo", ""}, {"arca GenerateDataKey", "arca GetSecretValue", "0.80"},
		{"arca Decrypt", "arca GetSecretValue", "0.80"}, {"arca PutSecretValue", "etcd behind echo", "0.60"},
	} {
		a, b := byName[pair[0]], byName[pair[1]]
		if a == nil || b == nil {
			continue
		}
		aim := ""
		if pair[2] != "" {
			aim = "   (aim " + pair[2] + ")"
		}
		fmt.Printf("%-20s / %-19s = %.2f%s\n", pair[0], pair[1], ratio(a, b), aim)
	}
}
