// Command bench measures Arca beside what bounds it and beside its peers, and prints
// ratios: everything it compares runs in turns in one run, on the same machine, against
// the same load generator, which signs its requests ahead of time.
//
//	echo              net/http answering as many bytes: what HTTP itself costs
//	synced echo       the echo with one line appended and synced per reply: what the
//	                  promise costs that no secret leaves before its audit record is on disk
//	etcd behind echo  the echo issuing one etcd transaction like a write's per request,
//	                  and removing its audit effect later: what a durable write costs
//	arca              the server as it is installed, with everything on
//	moto, openbao,    peers, where the machine has them; peers/ has their configuration
//	vault
//
// Answers are looked at: one that is not the one asked for ends the run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
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
	only        string
	beside      string
	quick       bool
	record      string
	doc         string
	check       string
	rotate      int
	sinks       bool
	lookup      int
	lookupDir   string
	scale       string
	scaleDir    string
}

func main() {
	var o options
	flag.StringVar(&o.serve, "serve", "", "internal: be one of the reference servers")
	flag.StringVar(&o.arca, "arca", "bin/arca", "the arca binary to measure")
	flag.IntVar(&o.connections, "connections", 64, "connections of the load generator")
	flag.IntVar(&o.rounds, "rounds", 5, "how often everything is measured, in turns")
	flag.DurationVar(&o.length, "length", time.Second, "length of one measurement")
	flag.IntVar(&o.secrets, "secrets", 1000, "secrets that are read")
	flag.StringVar(&o.only, "only", "", "measure the rows that this regular expression matches; with -scale, parts: restarts, reads, lists, fsck")
	flag.StringVar(&o.beside, "beside", "", "measure arca beside those that this regular expression matches")
	flag.BoolVar(&o.quick, "quick", false, "three rounds of 0.4 s, for a first look")
	flag.StringVar(&o.record, "record", "", "write what was found to this file")
	flag.StringVar(&o.doc, "doc", "", "write the tables into this file")
	flag.StringVar(&o.check, "check", "", "measure what bounds arca, and fail if a ratio is worse than in this file beyond noise")
	flag.StringVar(&o.noTree, "no-tree", "", "the arca binary built with the tag bench_notree")
	flag.BoolVar(&o.tree, "tree", false, "measure reads with and without the tree, and nothing else; needs -no-tree")
	flag.IntVar(&o.rotate, "rotate", 0, "measure reads while this many secrets fall due for rotation, and nothing else")
	flag.IntVar(&o.lookup, "lookup", 0, "measure finding events among this many, and nothing else")
	flag.StringVar(&o.lookupDir, "lookup-dir", "", "where -lookup keeps its log, which is used again if it is there; empty makes one and removes it")
	flag.BoolVar(&o.sinks, "sinks", false, "measure reads beside sinks of the audit log that hang and refuse, and nothing else")
	flag.StringVar(&o.scale, "scale", "", "measure servers that hold so many secrets beside the smallest of them, and nothing else: 1000,100000")
	flag.StringVar(&o.scaleDir, "scale-dir", "/tmp/arca-scale", "where -scale keeps its servers' data, which is used again")
	flag.Parse()
	if o.quick {
		o.rounds, o.length = 3, 400*time.Millisecond
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
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
	case o.scale != "":
		err = scale(ctx, o)
	case o.check != "":
		err = check(ctx, o)
	default:
		err = run(ctx, o)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	ch, err := newChoice(o)
	if err != nil {
		return err
	}
	rec, err := suite(ctx, o, ch)
	if err != nil {
		return err
	}
	if o.record != "" {
		if err := rec.write(o.record); err != nil {
			return err
		}
	}
	if o.doc != "" {
		return rec.writeDoc(o.doc)
	}
	return nil
}
