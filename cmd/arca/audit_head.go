package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"arca/internal/audit"
)

// auditHead is what a server keeps about the log of one node, apart from its files.
type auditHead struct {
	Node           string           `json:"Node"`
	Origin         string           `json:"Origin"`
	VerifierKey    string           `json:"VerifierKey"`
	Size           uint64           `json:"Size"`
	RootHash       []byte           `json:"RootHash"`
	Checkpoint     string           `json:"Checkpoint"`
	CheckpointDate float64          `json:"CheckpointDate"`
	Former         []formerAuditLog `json:"Former,omitempty"`
}

// formerAuditLog is a log that a node had to leave behind.
type formerAuditLog struct {
	Origin           string  `json:"Origin"`
	Size             uint64  `json:"Size"`
	RootHash         []byte  `json:"RootHash"`
	Reason           string  `json:"Reason"`
	EndedDate        float64 `json:"EndedDate"`
	Directory        string  `json:"Directory"`
	AcknowledgedDate float64 `json:"AcknowledgedDate,omitempty"`
}

// auditLog is what a server says about the log of the node that answers.
type auditLog struct {
	Node        string      `json:"Node"`
	Directory   string      `json:"Directory"`
	Size        uint64      `json:"Size"`
	Checkpoint  string      `json:"Checkpoint"`
	VerifierKey string      `json:"VerifierKey"`
	Heads       []auditHead `json:"Heads"`
}

func describeLog(ctx context.Context, env *environment, endpoint string) (*auditLog, error) {
	var out auditLog
	if err := ask(ctx, env, endpoint, "DescribeAuditLog", struct{}{}, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// head is what is kept about the node that answered.
func (l *auditLog) head() *auditHead {
	for i := range l.Heads {
		if l.Heads[i].Node == l.Node {
			return &l.Heads[i]
		}
	}
	return nil
}

// checkpointFile is the newest checkpoint of a log, as package audit names it.
const checkpointFile = "checkpoint"

// maxNoteBytes is more than a signed checkpoint or a key has.
const maxNoteBytes = 64 << 10

// readNote reads a small text file: a checkpoint, a key, a proof.
func readNote(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxNoteBytes {
		return "", fmt.Errorf("%s is no file of a checkpoint or a key", path)
	}
	raw, err := os.ReadFile(path)
	return string(raw), err
}

func newAuditCheckpoint(env *environment, endpoint *string) *cobra.Command {
	var from, out string
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Print the newest signed checkpoint, to be kept elsewhere",
		Long: `Print the newest signed checkpoint: how many lines the log has, and the root of the tree
over them, signed by the node (C2SP tlog-checkpoint). Whoever keeps it where nobody at the
server can reach it can prove later that none of those lines was changed, taken out or
added: arca audit verify --checkpoint FILE.`,
		Example: `  arca audit checkpoint --out checkpoints/$(date +%F)
  arca audit checkpoint --from /mnt/copy/audit/01234567`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := newestCheckpoint(cmd.Context(), env, *endpoint, from)
			if err != nil {
				return err
			}
			if out == "" || out == "-" {
				_, err := fmt.Fprint(env.out, text)
				return err
			}
			return writeWhole(out, []byte(text), 0o644)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write it to this `file`")
	_ = cmd.MarkFlagFilename("out")
	fromFlag(cmd, &from)
	return cmd
}

func newestCheckpoint(ctx context.Context, env *environment, endpoint, from string) (string, error) {
	if from != "" {
		dir, err := oneLog(from)
		if err != nil {
			return "", err
		}
		return readNote(filepath.Join(dir, checkpointFile))
	}
	l, err := describeLog(ctx, env, endpoint)
	if err != nil {
		return "", err
	}
	if l.Checkpoint == "" {
		return "", errors.New("the log has no checkpoint yet")
	}
	return l.Checkpoint, nil
}

// oneLog is the only node's folder below a folder.
func oneLog(from string) (string, error) {
	dirs, err := logDirs(from)
	if err != nil {
		return "", err
	}
	dirs = slices.DeleteFunc(dirs, func(d string) bool { return isLost(d) && d != from })
	if len(dirs) != 1 {
		return "", fmt.Errorf("%s holds the logs of %d nodes: name one of %s", from, len(dirs), strings.Join(dirs, ", "))
	}
	return dirs[0], nil
}

// writeWhole writes a file that is there whole or not at all.
func writeWhole(path string, data []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".arca-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return f.Close()
}

func newAuditKey(env *environment, endpoint *string) *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Print the key that the checkpoints of the log are verified with",
		Long: `Print the verifier key of the node's checkpoints (C2SP signed-note). It is public: give it
to whoever is to check proofs. What is checked with a key is worth as much as the way the
key came; --from prints the one that lies with the files.`,
		Example: "  arca audit key > arca-audit.vkey",
		Args:    exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from != "" {
				dir, err := oneLog(from)
				if err != nil {
					return err
				}
				key, err := audit.ReadKey(dir)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(env.out, key)
				return err
			}
			l, err := describeLog(cmd.Context(), env, *endpoint)
			if err != nil {
				return err
			}
			if l.VerifierKey == "" {
				return errors.New("the log has no key")
			}
			_, err = fmt.Fprintln(env.out, strings.TrimSpace(l.VerifierKey))
			return err
		},
	}
	fromFlag(cmd, &from)
	return cmd
}

func newAuditStatus(env *environment, endpoint *string) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the logs that the server knows of, and breaks between them",
		Long: `Show what the server keeps about its log, apart from the files: how many lines it has,
their root, and when that was signed. A log whose files did not agree with it when the
server started was left behind; it is shown with the reason.`,
		Example: "  arca audit status",
		Args:    exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(cmd, output); err != nil {
				return err
			}
			l, err := describeLog(cmd.Context(), env, *endpoint)
			if err != nil {
				return err
			}
			if output == outputJSON {
				return printJSON(env.out, l)
			}
			fmt.Fprintf(env.out, "node %s writes %s, %d lines\n", l.Node, l.Directory, l.Size)
			w := tabwriter.NewWriter(env.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "LOG\tLINES\tROOT\tSIGNED OR ENDED\tSTATE")
			breaks := 0
			for _, h := range l.Heads {
				state := "of a former node"
				if h.Node == l.Node {
					state = "in use"
				}
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", h.Origin, h.Size, shortHash(h.RootHash), orDash(dateText(h.CheckpointDate)), state)
				for _, f := range h.Former {
					state := fmt.Sprintf("left behind in %s: %s", orDash(f.Directory), printable(f.Reason))
					if f.AcknowledgedDate == 0 {
						breaks++
						state += " (not acknowledged)"
					}
					fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", f.Origin, f.Size, shortHash(f.RootHash), orDash(dateText(f.EndedDate)), state)
				}
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if breaks > 0 {
				fmt.Fprintf(env.out, "\n%d not acknowledged: look into the cause, then arca audit acknowledge\n", breaks)
			}
			return nil
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// shortHash is enough of a hash to compare by eye.
func shortHash(h []byte) string {
	if len(h) == 0 {
		return "-"
	}
	return hex.EncodeToString(h[:min(8, len(h))])
}

func newAuditAcknowledge(env *environment, endpoint *string) *cobra.Command {
	var node, reason string
	cmd := &cobra.Command{
		Use:   "acknowledge",
		Short: "Say that a break of the log has been looked into",
		Long: `Say that somebody has looked into a break of the log: at a start the files held less, or
something else, than what was signed, so that the server began a new log beside them.
"arca audit status" shows when and why. Until it is acknowledged arca fsck reports it and
a metric shows it.

The call stands in the log, and what is known of the former log is kept.`,
		Example: `  arca audit status
  arca audit acknowledge --reason "disk replaced on 2026-03-01, log restored from the copy"`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd.Context(), *endpoint, env.getenv)
			if err != nil {
				return err
			}
			if node == "" {
				var l auditLog
				if err := c.call(cmd.Context(), "DescribeAuditLog", struct{}{}, &l); err != nil {
					return err
				}
				node = l.Node
			}
			in := map[string]any{"Node": node}
			if reason != "" {
				in["Reason"] = reason
			}
			var out struct{ Acknowledged int }
			if err := c.call(cmd.Context(), "AcknowledgeAuditBreak", in, &out); err != nil {
				return err
			}
			if out.Acknowledged == 0 {
				fmt.Fprintf(env.out, "the log of node %s has no break that is not acknowledged\n", node)
				return nil
			}
			fmt.Fprintf(env.out, "%d acknowledged\n", out.Acknowledged)
			return nil
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "the `id` of the node whose log it is (default: the one that answers)")
	cmd.Flags().StringVar(&reason, "reason", "", "`text` for the record")
	return cmd
}
