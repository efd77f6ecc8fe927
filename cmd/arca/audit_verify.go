package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"arca/internal/audit"
	"arca/internal/merkle"
)

func newAuditVerify(env *environment, endpoint *string) *cobra.Command {
	var from, proof, lines, output string
	var keys, checkpoints []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that nobody changed, cut, added or reordered a line of the log",
		Long: `Check that nobody changed, cut out, added or reordered a line of the log: the lines are
hashed and compared with the roots that the node has signed. What was proven is said in
words, and what was not. Each problem is one line, and the command then ends with status 3.

Without --from a server is asked for the place of the log, the node's key and what its
database keeps about the log; run it on the server's host, as a user who may read the
files. With --from a copy is checked, and no server is asked.

--checkpoint names a checkpoint that was kept elsewhere (arca audit checkpoint), and may be
repeated: the log must extend each of them, and so each later one the earlier ones. Only
that finds a log that was rewritten with the node's own key, or, in a copy, cut at its end.
One that the files do not allow to compare with counts as a problem, unless --range is given.

--range reads on to the first checkpoint that covers the last of its lines.

--key names the node's key, as "arca audit key" prints it, or a file with it. Without it
the key that lies with a copy is taken, which proves that the files agree with each other.

--proof checks what "arca audit prove" has made, without any log.`,
		Example: `  arca audit verify
  arca audit verify --from /mnt/copy/audit --key arca-audit.vkey --checkpoint checkpoints/2026-03-01
  arca audit verify --from /mnt/copy/audit --range 1000000-1999999
  arca audit verify --proof read.proof --key arca-audit.vkey`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			if proof != "" {
				if from != "" || lines != "" {
					return usageError{errors.New("--proof needs no log: leave out --from and --range"), cmd.CommandPath()}
				}
				return verifyProof(env, proof, keys, checkpoints, output)
			}
			v := logVerifier{env: env, json: output == outputJSON}
			var err error
			if v.from, v.to, err = lineRange(lines); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			if v.keys, err = verifierKeys(keys); err != nil {
				return err
			}
			if err := v.readCheckpoints(checkpoints); err != nil {
				return err
			}
			if from != "" {
				err = v.copy(cmd.Context(), from)
			} else {
				err = v.server(cmd.Context(), *endpoint)
			}
			return interrupted(cmd.Context(), err)
		},
	}
	fromFlag(cmd, &from)
	cmd.Flags().StringArrayVar(&checkpoints, "checkpoint", nil, "`file` with a checkpoint that was kept elsewhere; may be repeated")
	_ = cmd.MarkFlagFilename("checkpoint")
	cmd.Flags().StringArrayVar(&keys, "key", nil, "the node's `key`, or a file with it; may be repeated")
	_ = cmd.MarkFlagFilename("key")
	cmd.Flags().StringVar(&lines, "range", "", "check only these `lines`: A-B, both included, from 0; B may be left out")
	cmd.Flags().StringVar(&proof, "proof", "", "check this `file` with the proof of one event")
	_ = cmd.MarkFlagFilename("proof")
	outputFlag(cmd, &output)
	return cmd
}

// lineRange reads A-B. Its end is returned as the number after the last line, 0 for no end.
func lineRange(text string) (from, to uint64, err error) {
	if text == "" {
		return 0, 0, nil
	}
	first, last, ok := strings.Cut(text, "-")
	bad := fmt.Errorf("--range %q is not of the form 1000-1999", text)
	if from, err = strconv.ParseUint(first, 10, 63); !ok || err != nil {
		return 0, 0, bad
	}
	if last == "" {
		return from, 0, nil
	}
	if to, err = strconv.ParseUint(last, 10, 63); err != nil || to < from {
		return 0, 0, bad
	}
	return from, to + 1, nil
}

// verifierKeys reads keys that are given as they are, or as files with one key a line.
func verifierKeys(given []string) (keys []string, err error) {
	for _, k := range given {
		lines := []string{k}
		if _, err := os.Stat(k); err == nil {
			text, err := readNote(k)
			if err != nil {
				return nil, fmt.Errorf("--key: %w", err)
			}
			lines = strings.Split(strings.TrimSpace(text), "\n")
		}
		for _, line := range lines {
			line = strings.TrimSpace(line)
			if _, err := note.NewVerifier(line); err != nil {
				return nil, fmt.Errorf("--key %s is neither a key as arca audit key prints it, nor a file with one", k)
			}
			keys = append(keys, line)
		}
	}
	return keys, nil
}

func openCheckpoint(text []byte, keys []string) (merkle.Checkpoint, error) {
	var known []note.Verifier
	for _, k := range keys {
		v, err := note.NewVerifier(k)
		if err != nil {
			return merkle.Checkpoint{}, fmt.Errorf("verifier key: %w", err)
		}
		known = append(known, v)
	}
	return merkle.OpenCheckpoint(text, known...)
}

// keptCheckpoint is a checkpoint that somebody has kept elsewhere.
type keptCheckpoint struct {
	path string
	text []byte
	says merkle.Checkpoint // nobody has looked at the signature yet
	used bool
}

// logVerifier verifies the logs of one or more nodes.
type logVerifier struct {
	env      *environment
	json     bool
	keys     []string
	kept     []keptCheckpoint
	from, to uint64

	reports  []logReport
	problems int
}

// logReport is what came of verifying one log.
type logReport struct {
	Directory string              `json:"Directory"`
	Report    *audit.VerifyReport `json:"Report"`
	Proven    []string            `json:"Proven"`
	NotProven []string            `json:"NotProven"`
	took      time.Duration
	kept      []*keptCheckpoint // that are of this log
}

func (v *logVerifier) readCheckpoints(paths []string) error {
	for _, path := range paths {
		text, err := readNote(path)
		if err != nil {
			return fmt.Errorf("--checkpoint: %w", err)
		}
		c, err := merkle.UnverifiedCheckpoint([]byte(text))
		if err != nil {
			return fmt.Errorf("--checkpoint %s: %w", path, err)
		}
		v.kept = append(v.kept, keptCheckpoint{path: path, text: []byte(text), says: c})
	}
	return nil
}

// server verifies the logs of the node that answers, on its own host.
func (v *logVerifier) server(ctx context.Context, endpoint string) error {
	l, err := describeLog(ctx, v.env, endpoint)
	if err != nil {
		return err
	}
	dirs, err := logDirs(l.Directory)
	if err != nil {
		return notHere(l, err)
	}
	for _, dir := range dirs {
		var head *audit.Head
		if h := l.head(); h != nil {
			if h.acknowledged(dir) {
				continue // what is said of the log in use names it
			}
			head = h.known()
			if isLost(dir) {
				head.Checkpoint = nil // it is of the log in use
			}
		}
		if err := v.one(ctx, dir, head); err != nil {
			return err
		}
	}
	return v.end()
}

// copy verifies the logs below a folder.
func (v *logVerifier) copy(ctx context.Context, from string) error {
	dirs, err := logDirs(from)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := v.one(ctx, dir, nil); err != nil {
			return err
		}
	}
	return v.end()
}

// originOf is the log that the files in a folder say they are of; "" if they do not.
func originOf(dir string) string {
	text, err := readNote(filepath.Join(dir, checkpointFile))
	if err != nil {
		return ""
	}
	c, err := merkle.UnverifiedCheckpoint([]byte(text))
	if err != nil {
		return ""
	}
	return c.Origin
}

// one verifies one log.
func (v *logVerifier) one(ctx context.Context, dir string, head *audit.Head) error {
	o := audit.VerifyOptions{Dir: dir, Keys: v.keys, From: v.from, To: v.to, Head: head}
	r := logReport{Directory: dir}
	origin := originOf(dir)
	for i := range v.kept {
		if k := &v.kept[i]; k.says.Origin == origin || origin == "" {
			k.used = true
			r.kept = append(r.kept, k)
			o.Checkpoints = append(o.Checkpoints, k.text)
		}
	}
	p := newProgress(v.env.err, "verifying "+dir, "", 0)
	defer p.end()
	o.Progress = func(done, total int64) {
		p.bytes = total
		p.show(0, done)
	}
	start := time.Now()
	report, err := audit.Verify(ctx, o)
	if err != nil {
		return err
	}
	p.end()
	r.Report, r.took = report, time.Since(start)
	v.problems += len(report.Problems) + v.judge(&r)
	if !v.json {
		r.print(v.env.out)
	}
	v.reports = append(v.reports, r)
	return nil
}

// judge says in words what the report proves and what it does not. It returns how many of
// the checkpoints that were kept say nothing about the log although all of it was read.
func (v *logVerifier) judge(r *logReport) (failed int) {
	got := r.Report
	proven := func(format string, args ...any) { r.Proven = append(r.Proven, fmt.Sprintf(format, args...)) }
	not := func(format string, args ...any) { r.NotProven = append(r.NotProven, fmt.Sprintf(format, args...)) }
	ranged := v.from > 0 || v.to > 0
	sound := len(got.Problems) == 0
	whole := got.HeadChecked && !ranged
	if sound && got.Size > 0 && got.Verified.To > got.Verified.From {
		proven("%s are those the node signed on %s, when there were %d: none was changed, cut out, added or moved",
			v.verified(got), got.Time.Format(time.RFC3339), got.Size)
	}
	for _, k := range r.kept {
		same := func(c merkle.Checkpoint) bool {
			return c.Origin == k.says.Origin && c.Size == k.says.Size && c.Root == k.says.Root
		}
		// Of a part of the log it is known only by the lines that match that it is of this log.
		switch {
		case slices.ContainsFunc(got.Uncompared, same), sound && ranged && got.Size == 0:
			not("that the log extends the checkpoint in %s: it could not be compared", k.path)
			if !ranged {
				failed++
			}
		case sound:
			proven("the log extends the checkpoint in %s", k.path)
		}
	}
	if sound && got.Size > 0 && whole {
		proven("the log has everything that the server's database knows of it")
	}
	if ranged {
		if sound {
			for _, text := range v.unverified(got) {
				not("anything about %s: they are not here, or no checkpoint covers them", text)
			}
		}
		not("anything about lines outside --range")
	}
	if got.Tail > 0 {
		not("the last %d lines, which are newer than every checkpoint", got.Tail)
	}
	switch {
	case len(r.kept) > 0:
	case whole:
		not("anything against somebody who controls the server, with its files, its database and its key: compare with a checkpoint that was kept elsewhere (--checkpoint)")
	default:
		not("that nothing is missing at the end, and that the log was not written anew by somebody with the node's key: compare with a checkpoint that was kept elsewhere (--checkpoint)")
	}
	not("that what the server wrote is what happened")
	return failed
}

// verified names the lines that are proven.
func (v *logVerifier) verified(got *audit.VerifyReport) string {
	switch {
	case v.from == 0 && v.to == 0:
		return "the lines"
	case got.Verified.From == v.from && got.Verified.To == v.to:
		return "the lines of --range"
	default:
		return fmt.Sprintf("lines %d to %d of --range", got.Verified.From, got.Verified.To-1)
	}
}

// unverified names the lines of --range that are not proven.
func (v *logVerifier) unverified(got *audit.VerifyReport) (parts []string) {
	add := func(from, to uint64) {
		if to == 0 {
			parts = append(parts, fmt.Sprintf("the lines of --range from %d on", from))
		} else {
			parts = append(parts, fmt.Sprintf("lines %d to %d of --range", from, to-1))
		}
	}
	done := got.Verified
	if done.To <= done.From {
		add(v.from, v.to)
		return parts
	}
	if done.From > v.from {
		add(v.from, done.From)
	}
	if v.to > done.To {
		add(done.To, v.to)
	}
	return parts
}

func (r *logReport) print(w io.Writer) {
	got := r.Report
	fmt.Fprintf(w, "%s\n  log     %s\n  key     %s\n", r.Directory, orDash(printable(got.Origin)), orDash(got.Key))
	fmt.Fprintf(w, "  read    %d lines, %s, in %s\n", got.Lines, mib(got.Bytes), r.took.Round(time.Millisecond))
	for _, p := range got.Pruned {
		fmt.Fprintf(w, "  gone    lines %d to %d: retention removed them, as a signed note says\n", p.From, p.To-1)
	}
	for _, text := range r.Proven {
		fmt.Fprintln(w, "proven:     "+printable(text))
	}
	for _, text := range r.NotProven {
		fmt.Fprintln(w, "not proven: "+printable(text))
	}
	for _, text := range got.Warnings {
		fmt.Fprintln(w, "warning:    "+printable(text))
	}
	for _, p := range got.Problems {
		fmt.Fprintln(w, "PROBLEM:    "+printable(p.Text))
	}
}

// end says what is to be said of all logs together.
func (v *logVerifier) end() error {
	var strays []string
	for _, k := range v.kept {
		if !k.used {
			strays = append(strays, fmt.Sprintf("the checkpoint in %s is of the log %s, which is not here", k.path, k.says.Origin))
		}
	}
	v.problems += len(strays)
	if v.json {
		if err := printJSON(v.env.out, map[string]any{"Logs": v.reports, "Problems": v.problems, "UnusedCheckpoints": strays}); err != nil {
			return err
		}
	} else {
		for _, text := range strays {
			fmt.Fprintln(v.env.out, "PROBLEM:    "+printable(text))
		}
	}
	if v.problems > 0 {
		fmt.Fprintf(v.env.err, "arca: %d problems\n", v.problems)
		return errProblems
	}
	return nil
}

// acknowledged reports whether a folder holds what is left of a log whose end somebody has
// looked into.
func (h *auditHead) acknowledged(dir string) bool {
	return isLost(dir) && slices.ContainsFunc(h.Former, func(f formerAuditLog) bool {
		return f.Directory == filepath.Base(dir) && f.AcknowledgedDate != 0
	})
}

// known is what the server keeps, as package audit takes it.
func (h *auditHead) known() *audit.Head {
	k := &audit.Head{
		Node: h.Node, Key: h.VerifierKey, Origin: h.Origin, Size: h.Size, Root: hashOf(h.RootHash),
		Checkpoint: []byte(h.Checkpoint), Time: timeOf(h.CheckpointDate),
	}
	if h.Checkpoint == "" {
		k.Checkpoint = nil
	}
	for _, f := range h.Former {
		k.Former = append(k.Former, audit.FormerLog{
			Origin: f.Origin, Size: f.Size, Root: hashOf(f.RootHash), Why: f.Reason, When: timeOf(f.EndedDate),
			Dir: f.Directory, Acknowledged: timeOf(f.AcknowledgedDate),
		})
	}
	return k
}

func hashOf(b []byte) (h merkle.Hash) {
	copy(h[:], b)
	return h
}

// timeOf is a date of an answer; the zero time when there is none.
func timeOf(seconds float64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(seconds * 1000)).UTC()
}
