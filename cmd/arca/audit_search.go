package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"arca/internal/trail"
)

const (
	// searchPage is how many events one request asks for.
	searchPage = 500
	// tailEvents is how many events tail begins with unless told otherwise.
	tailEvents = 10
	// tailEvery is how often a server is asked for new events.
	tailEvery = 500 * time.Millisecond
	// tailPatience bounds the pauses between attempts while a server does not answer.
	tailPatience = 10 * time.Second
)

// auditEvent is a record where it stands.
type auditEvent struct {
	Node   string
	Line   int64
	Record string
}

// auditPage is a part of the answer to a search.
type auditPage struct {
	Events    []auditEvent
	NextToken string
}

// search visits the events that a server finds, newest first, until fn has had enough.
func search(ctx context.Context, c *client, in map[string]any, limit int, fn func([]auditEvent) error) (more bool, err error) {
	for found := 0; ; {
		in["MaxResults"] = searchPage
		if limit > 0 {
			in["MaxResults"] = min(searchPage, limit-found)
		}
		var out auditPage
		if err := c.call(ctx, "SearchAuditLog", in, &out); err != nil {
			return false, err
		}
		if err := fn(out.Events); err != nil {
			return false, err
		}
		found += len(out.Events)
		if out.NextToken == "" || limit > 0 && found >= limit {
			return out.NextToken != "", nil
		}
		in["NextToken"] = out.NextToken
	}
}

func newAuditSearch(env *environment, endpoint *string) *cobra.Command {
	var f auditFilter
	var from, output string
	var limit int
	cmd := &cobra.Command{
		Use:   "search",
		Short: "Find events: who read a secret last week",
		Long: `Find events in the audit log, newest first. All conditions must hold. Without --limit
the newest 100 are shown.

With --output json each event is one line: its record, exactly as it stands in the log.

With --from a copy of the log is searched, without a server.`,
		Example: `  arca audit search --resource MyApp/db --event GetSecretValue --since 7d
  arca audit search --failed --since 1h
  arca audit search --user alice --changes --since 2026-03-01 --until 2026-03-08 --limit 0 --output json
  arca audit search --from /mnt/copy/audit --event DeleteSecret`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			if limit < 0 {
				return usageError{errors.New("--limit is negative"), cmd.CommandPath()}
			}
			t := newEventTable(env.out, output)
			more, err := f.each(cmd, env, *endpoint, from, limit, func(events []auditEvent) error {
				for i := range events {
					if err := t.add(&events[i]); err != nil {
						return err
					}
				}
				return t.flush()
			})
			if err != nil {
				return interrupted(cmd.Context(), err)
			}
			if more {
				fmt.Fprintf(env.err, "arca: there are more; --limit 0 shows all\n")
			}
			return nil
		},
	}
	f.add(cmd, true)
	cmd.Flags().IntVar(&limit, "limit", 100, "show at most `N` events, 0 for all")
	fromFlag(cmd, &from)
	outputFlag(cmd, &output)
	return cmd
}

// each visits the events that the flags ask for, newest first and at most limit, and
// tells whether there are more.
func (f *auditFilter) each(cmd *cobra.Command, env *environment, endpoint, from string, limit int, fn func([]auditEvent) error) (more bool, err error) {
	if from != "" {
		return f.eachIn(cmd, env, from, limit, fn)
	}
	in, err := f.request(cmd, time.Now())
	if err != nil {
		return false, err
	}
	c, err := newClient(cmd.Context(), endpoint, env.getenv)
	if err != nil {
		return false, err
	}
	return search(cmd.Context(), c, in, limit, fn)
}

// eachIn is each in a copy of the log.
func (f *auditFilter) eachIn(cmd *cobra.Command, env *environment, from string, limit int, fn func([]auditEvent) error) (more bool, err error) {
	filter, err := f.filter(cmd, time.Now())
	if err != nil {
		return false, err
	}
	t, err := openTrail(env, from)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	at, damaged := trail.Position(""), false
	defer func() {
		if damaged {
			fmt.Fprintf(env.err, "arca: events may be missing: %v\n", errDamaged)
		}
	}()
	for found := 0; ; {
		most := searchPage
		if limit > 0 {
			most = min(searchPage, limit-found)
		}
		page, err := t.Search(cmd.Context(), filter, at, most)
		if err != nil {
			return false, err
		}
		damaged = damaged || page.Damaged
		events := make([]auditEvent, 0, len(page.Events))
		for i := range page.Events {
			e := &page.Events[i]
			events = append(events, auditEvent{Node: e.Node, Line: int64(e.Line), Record: string(e.Raw)})
		}
		if err := fn(events); err != nil {
			return false, err
		}
		found += len(events)
		if !page.More || limit > 0 && found >= limit {
			return page.More, nil
		}
		at = page.Next
	}
}

// errDamaged says that files were left out that cannot be read.
var errDamaged = errors.New("part of the log cannot be read; arca audit verify tells which")

// openTrail makes a copy of the log searchable. What it needs besides is in a temporary
// folder.
func openTrail(env *environment, from string) (*trail.Trail, error) {
	dirs, err := logDirs(from)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(env.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return trail.Open(trail.Config{Dirs: dirs, Logger: log})
}

// eventTable prints events for people, a table, or for programs, the records.
type eventTable struct {
	out    io.Writer
	json   bool
	w      *tabwriter.Writer // of a table
	headed bool
}

var eventColumns = [...]string{"TIME", "WHO", "WHAT", "ABOUT", "RESULT", "FROM", "EVENT ID"}

func newEventTable(out io.Writer, output string) *eventTable {
	return &eventTable{out: out, json: output == outputJSON, w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
}

func (t *eventTable) add(e *auditEvent) error {
	if t.json {
		_, err := fmt.Fprintln(t.out, e.Record)
		return err
	}
	if !t.headed {
		t.headed = true
		fmt.Fprintln(t.w, strings.Join(eventColumns[:], "\t"))
	}
	r, err := parseRecord(e)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(t.w, strings.Join(r.columns(), "\t"))
	return err
}

func (t *eventTable) flush() error {
	if t.json {
		return nil
	}
	if !t.headed {
		t.headed = true
		fmt.Fprintln(t.w, strings.Join(eventColumns[:], "\t"))
	}
	return t.w.Flush()
}

func parseRecord(e *auditEvent) (*auditRecord, error) {
	var r auditRecord
	if err := json.Unmarshal([]byte(e.Record), &r); err != nil {
		return nil, fmt.Errorf("line %d of the log of node %s is no record: %w", e.Line, e.Node, err)
	}
	return &r, nil
}

func newAuditTail(env *environment, endpoint *string) *cobra.Command {
	var f auditFilter
	var output string
	var count int
	var follow bool
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show the newest events, and new ones as they come",
		Long: `Show the newest events, oldest first; with --follow also those that come, until Ctrl-C.
What a restart of the server interrupts goes on where it was.

With --output json each event is one line: its record, exactly as it stands in the log.`,
		Example: `  arca audit tail
  arca audit tail --follow --failed
  arca audit tail -f -n 0 --resource MyApp/db --output json`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			if count < 0 || count > 1000 {
				return usageError{errors.New("--lines is not between 0 and 1000"), cmd.CommandPath()}
			}
			in, err := f.request(cmd, time.Now())
			if err != nil {
				return err
			}
			c, err := newClient(cmd.Context(), *endpoint, env.getenv)
			if err != nil {
				return err
			}
			return tail(cmd.Context(), env, c, in, count, follow, &eventLines{out: env.out, json: output == outputJSON})
		},
	}
	f.add(cmd, false)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new events as they come")
	cmd.Flags().IntVarP(&count, "lines", "n", tailEvents, "begin with the newest `N` events")
	outputFlag(cmd, &output)
	return cmd
}

// tail prints the newest events and, if asked to, those that come.
func tail(ctx context.Context, env *environment, c *client, in map[string]any, count int, follow bool, to *eventLines) error {
	in["Follow"], in["MaxResults"] = true, max(count, 1)
	var page auditPage
	if err := c.call(ctx, "SearchAuditLog", in, &page); err != nil {
		return err
	}
	if count == 0 {
		page.Events = nil
	}
	pause, lost := tailEvery, false
	for {
		if err := to.print(page.Events); err != nil {
			return err
		}
		if !follow {
			return nil
		}
		// A full page is followed by the next one at once.
		if len(page.Events) < searchPage {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
		}
		in["NextToken"], in["MaxResults"] = page.NextToken, searchPage
		next := auditPage{}
		switch err := c.call(ctx, "SearchAuditLog", in, &next); {
		case err == nil:
			page, pause, lost = next, tailEvery, false
		case ctx.Err() != nil:
			return nil
		case !passing(err):
			return err
		default:
			if !lost {
				fmt.Fprintf(env.err, "%v; trying again\n", err)
			}
			lost, page.Events, pause = true, nil, min(2*pause, tailPatience)
		}
	}
}

// eventLines prints events one by one, in columns of fixed widths as far as they do:
// what comes later cannot widen what was printed.
type eventLines struct {
	out    io.Writer
	json   bool
	headed bool
}

func (l *eventLines) print(events []auditEvent) error {
	if l.json {
		for i := range events {
			if _, err := fmt.Fprintln(l.out, events[i].Record); err != nil {
				return err
			}
		}
		return nil
	}
	rows := make([][]string, 0, len(events)+1)
	if !l.headed {
		l.headed = true
		rows = append(rows, eventColumns[:])
	}
	for i := range events {
		r, err := parseRecord(&events[i])
		if err != nil {
			return err
		}
		rows = append(rows, r.columns())
	}
	for _, row := range rows {
		// The id is long, and of no use while watching.
		row = slices.Clone(row[:len(row)-1])
		if _, err := fmt.Fprintf(l.out, "%-20s  %-36s  %-36s  %-28s  %-22s  %s\n", row[0], row[1], row[2], row[3], row[4], row[5]); err != nil {
			return err
		}
	}
	return nil
}
