package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"arca/internal/audit"
	"arca/internal/store"
)

// CheckAgainstAudit compares every record with the newest change that the audit log has
// of it, over the logs of all nodes below audit_dir. Problems go to report; what the log
// cannot tell, because it is younger than the data or parts of it are gone, is said to
// note and is no problem. The data must be open offline.
func (a *App) CheckAgainstAudit(ctx context.Context, report, note func(text string)) error {
	logs, err := a.openLogs(report)
	if err != nil {
		return fmt.Errorf("compare with the audit log: %w", err)
	}
	got, err := a.store.CheckChanges(ctx, store.ChangeLog{Each: logs.each, Pruned: logs.pruned, Gaps: func() bool { return logs.gaps }},
		func(m store.Mismatch) {
			where := ""
			if m.Known {
				where = fmt.Sprintf(" (line %d of %s)", m.Line, logs.name(m.Log))
			}
			report(fmt.Sprintf("table %s, record %s: %s%s", m.Table, m.Key, m.Text, where))
		})
	if err != nil {
		return fmt.Errorf("compare with the audit log: %w", err)
	}
	note(fmt.Sprintf("%d records compared with the audit log", got.Records))
	for _, n := range []struct {
		count int64
		text  string
	}{
		{got.Older, "are older than the log, which says nothing of them"},
		{got.Unknown, "would be explained by lines that are missing from the log"},
	} {
		if n.count > 0 {
			note(fmt.Sprintf("%d of them %s", n.count, n.text))
		}
	}
	if got.Restored && len(logs.former) > 0 {
		note("the data was restored from a backup; not compared are the logs of before: " + strings.Join(logs.former, ", "))
	}
	return nil
}

// nodeLogs are the logs that a store is compared with.
type nodeLogs struct {
	dirs    []string
	cut     []bool   // by dir: begins after its node did
	former  []string // of before a restore
	pending *store.Store
	report  func(text string)
	gaps    bool
	told    map[string]bool // reported, since the logs are read several times
}

// maxNodeLogs is how many logs a change can be told from.
const maxNodeLogs = math.MaxUint8

// openLogs finds the logs of all nodes. After a restore the numbers of changes begin
// again where the backup ended, so that those of before cannot be told from those after
// it; then only the log of this node counts.
func (a *App) openLogs(report func(text string)) (*nodeLogs, error) {
	l := &nodeLogs{pending: a.store, report: report, told: make(map[string]bool)}
	entries, err := os.ReadDir(a.cfg.AuditDir)
	if err != nil {
		return nil, err
	}
	own := a.store.NodeID()
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "lost+found" { // of a file system that is mounted there
			continue
		}
		dir := filepath.Join(a.cfg.AuditDir, e.Name())
		segments, err := audit.Segments(dir)
		if err != nil {
			return nil, err
		}
		lost, err := filepath.Glob(filepath.Join(dir, "lost-*"))
		if err != nil {
			return nil, err
		}
		if len(segments) == 0 && e.Name() != own {
			continue
		}
		if a.store.Restored() && e.Name() != own {
			l.former = append(l.former, e.Name())
			continue
		}
		l.dirs = append(l.dirs, dir)
		l.cut = append(l.cut, len(segments) == 0 || segments[0].First > 0 || len(lost) > 0)
		for _, old := range lost {
			// Its end may be missing. What it has still tells what was put back.
			if segments, err := audit.Segments(old); err != nil {
				return nil, err
			} else if len(segments) > 0 {
				l.dirs, l.cut, l.gaps = append(l.dirs, old), append(l.cut, true), true
			}
		}
	}
	if len(l.dirs) > maxNodeLogs {
		return nil, fmt.Errorf("there are the logs of %d nodes in %s, at most %d can be compared with", len(l.dirs), a.cfg.AuditDir, maxNodeLogs)
	}
	slices.Sort(l.former)
	return l, nil
}

func (l *nodeLogs) pruned(log uint8) bool { return int(log) < len(l.cut) && l.cut[log] }

// name is how people find a log.
func (l *nodeLogs) name(log uint8) string {
	if int(log) == len(l.dirs) {
		return "what is still to be written"
	}
	if name := filepath.Base(l.dirs[log]); !strings.HasPrefix(name, "lost-") {
		return name
	}
	return filepath.Join(filepath.Base(filepath.Dir(l.dirs[log])), filepath.Base(l.dirs[log]))
}

// each calls fn for every change in the logs, and for those whose lines are still to be
// written.
func (l *nodeLogs) each(ctx context.Context, fn func(c *store.LoggedChange) error) error {
	for i, dir := range l.dirs {
		if err := l.eachOf(ctx, uint8(i), dir, fn); err != nil {
			return err
		}
	}
	return l.pending.PendingChanges(ctx, func(data []byte) error {
		for line := range bytes.SplitSeq(data, []byte{'\n'}) {
			if err := l.changes(uint8(len(l.dirs)), 0, line, fn); err != nil {
				return err
			}
		}
		return nil
	})
}

// errNextSegment ends the scan of one segment.
var errNextSegment = errors.New("next segment")

// eachOf reads one log segment by segment, and on behind one that cannot be read.
func (l *nodeLogs) eachOf(ctx context.Context, log uint8, dir string, fn func(c *store.LoggedChange) error) error {
	segments, err := audit.Segments(dir)
	if err != nil {
		return err
	}
	for i, seg := range segments {
		end, next := uint64(math.MaxUint64), seg.First
		if i+1 < len(segments) {
			end = segments[i+1].First
		}
		var stopped error // by fn
		err := audit.Scan(ctx, dir, seg.First, func(n uint64, line []byte) error {
			if n >= end {
				return errNextSegment
			}
			next = n + 1
			stopped = l.changes(log, n, line, fn)
			return stopped
		})
		switch {
		case stopped != nil:
			return stopped
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.Is(err, errNextSegment) && (end == math.MaxUint64 || next < end):
			l.missing(fmt.Sprintf("the log of %s cannot be read from line %d on: %v", filepath.Base(dir), next, err))
		case end != math.MaxUint64 && next < end:
			l.missing(fmt.Sprintf("lines %d to %d of the log of %s are missing", next, end-1, filepath.Base(dir)))
		}
	}
	return nil
}

func (l *nodeLogs) changes(log uint8, n uint64, line []byte, fn func(c *store.LoggedChange) error) error {
	changes, err := audit.Changes(line)
	if err != nil {
		l.missing(fmt.Sprintf("line %d of %s: %v", n, l.name(log), err))
		return nil
	}
	for _, c := range changes {
		if err := fn(&store.LoggedChange{Change: store.Change(c), Log: log, Line: n}); err != nil {
			return err
		}
	}
	return nil
}

// missing reports a part of the log that cannot be had.
func (l *nodeLogs) missing(text string) {
	l.gaps = true
	if !l.told[text] {
		l.told[text] = true
		l.report(text)
	}
}
