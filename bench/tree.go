package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// withoutTree is the server without the Merkle tree over its audit log.
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
		{arcaName, func() (*process, error) { return startArca(ctx, o.arca) }},
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
	var list []*series
	for _, c := range all {
		p, err := c.start()
		if err != nil {
			return err
		}
		defer p.stop()
		w := &world{proc: p, root: rootOf(p), reads: o.secrets}
		if err := w.fill(ctx, o, w.root, rootPrefix, "", o.secrets); err != nil {
			return fmt.Errorf("create secrets to read: %w", err)
		}
		list = append(list, &series{
			row: getRootRow, contender: c.name, proc: p, connections: o.connections, requests: w.getSecretValue(w.root, rootPrefix),
		})
	}
	if _, err := rounds(ctx, o, [][]*series{list}); err != nil {
		return err
	}
	report(list)
	return nil
}
