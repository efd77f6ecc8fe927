package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// withoutTree is the row of the server without the Merkle tree over its audit log.
const withoutTree = "without tree"

// tree measures reads of the server with and without the Merkle tree over its audit log,
// in turns: what little the tree costs would drown in the other rows' time otherwise.
func tree(ctx context.Context, o options) error {
	if o.noTree == "" {
		return errors.New("-tree needs -no-tree")
	}
	fmt.Printf("%d cores, %s; %d connections, %d rounds of %v each with and without the tree\n\n",
		runtime.NumCPU(), runtime.Version(), o.connections, o.rounds, o.length)
	return inTurns(ctx, o, []contender{
		{"arca GetSecretValue", func() (*process, error) { return startArca(ctx, o.arca) }},
		{withoutTree, func() (*process, error) { return startArca(ctx, o.noTree) }},
	})
}

// contender is a server whose reads are measured beside another's.
type contender struct {
	name  string
	start func() (*process, error)
}

// inTurns measures reads of servers that do nothing else.
func inTurns(ctx context.Context, o options, all []contender) error {
	var sets []*set
	for _, c := range all {
		p, err := c.start()
		if err != nil {
			return err
		}
		defer p.stop()
		if err := create(ctx, o, p, "bench/read/", o.secrets); err != nil {
			return fmt.Errorf("create secrets to read: %w", err)
		}
		set, err := reads(o, c.name, p)
		if err != nil {
			return err
		}
		sets = append(sets, set)
	}
	results, err := measure(ctx, o, sets)
	if err != nil {
		return err
	}
	report(results)
	return nil
}
