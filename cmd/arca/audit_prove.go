package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"arca/internal/audit"
	"arca/internal/merkle"
)

// auditProof is an event with the proof that it is in the log.
type auditProof struct {
	Node        string
	Line        uint64
	Record      string
	Proof       string
	VerifierKey string
}

func newAuditProve(env *environment, endpoint *string) *cobra.Command {
	var from, out, checkpoint string
	cmd := &cobra.Command{
		Use:   "prove EVENT-ID",
		Short: "Make a proof that an event is in the log, for somebody who trusts nobody here",
		Long: `Make a proof that an event is in the log: its record, the hashes that lead from it to the
root of the tree, and the checkpoint in which the node signed that root (C2SP tlog-proof).
Whoever has the node's key checks it without the log and without the server:

  arca audit verify --proof FILE --key VKEY

With --checkpoint the proof leads to that checkpoint, such as one that the other side has
kept since then. An event can be proven a second after it happened.`,
		Example: `  arca audit search --resource MyApp/db --event GetSecretValue --since 7d
  arca audit prove 0af1b2c3-1111-2222-3333-444455556666 --out read.proof
  arca audit prove 0af1b2c3-1111-2222-3333-444455556666 --from /mnt/copy/audit --checkpoint theirs`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var against string
			if checkpoint != "" {
				var err error
				if against, err = readNote(checkpoint); err != nil {
					return fmt.Errorf("--checkpoint: %w", err)
				}
			}
			var p *auditProof
			var err error
			if from != "" {
				p, err = proveFrom(cmd.Context(), env, from, args[0], against)
			} else {
				p, err = proveAt(cmd.Context(), env, *endpoint, args[0], against)
			}
			if err != nil {
				return interrupted(cmd.Context(), err)
			}
			if out == "" || out == "-" {
				_, err := io.WriteString(env.out, p.Proof)
				return err
			}
			if err := writeWhole(out, []byte(p.Proof), 0o600); err != nil {
				return err
			}
			fmt.Fprintf(env.err, "%s: proof of line %d of the log of node %s; it holds the record\n", out, p.Line, p.Node)
			fmt.Fprintf(env.err, "checked with: arca audit verify --proof %s --key %s\n", out, p.VerifierKey)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write the proof to this `file`")
	_ = cmd.MarkFlagFilename("out")
	cmd.Flags().StringVar(&checkpoint, "checkpoint", "", "`file` with the checkpoint to prove it for (default: the newest)")
	_ = cmd.MarkFlagFilename("checkpoint")
	fromFlag(cmd, &from)
	return cmd
}

const (
	// provePatience is how long a proof is waited for that needs the next checkpoint.
	provePatience = 10 * time.Second
	proveEvery    = 300 * time.Millisecond
)

// proveAt asks a server. An event of a moment ago is in no checkpoint yet.
func proveAt(ctx context.Context, env *environment, endpoint, id, checkpoint string) (*auditProof, error) {
	c, err := newClient(ctx, endpoint, env.getenv)
	if err != nil {
		return nil, err
	}
	in := map[string]any{"EventId": id}
	if checkpoint != "" {
		in["Checkpoint"] = checkpoint
	}
	for deadline := time.Now().Add(provePatience); ; {
		var p auditProof
		err := c.call(ctx, "ProveAuditEvent", in, &p)
		refused, ok := errors.AsType[serviceError](err)
		if err == nil || !ok || refused.code != "NotCoveredException" || time.Now().After(deadline) {
			return &p, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(proveEvery):
		}
	}
}

// proveFrom makes the proof from a copy of the log.
func proveFrom(ctx context.Context, env *environment, from, id, checkpoint string) (_ *auditProof, err error) {
	t, err := openTrail(env, from)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	e, err := t.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	key, err := audit.ReadKey(e.Dir)
	if err != nil {
		return nil, err
	}
	var c merkle.Checkpoint
	if checkpoint != "" {
		c, err = openCheckpoint([]byte(checkpoint), []string{key})
	} else {
		c, err = audit.ReadCheckpoint(e.Dir, key)
	}
	if err != nil {
		return nil, err
	}
	p, err := audit.Prove(ctx, e.Dir, e.Line, c)
	if err != nil {
		return nil, err
	}
	return &auditProof{Node: e.Node, Line: e.Line, Record: string(p.Extra), Proof: string(p.Marshal()), VerifierKey: key}, nil
}

// maxProofFile is more than a proof has that carries the longest line.
const maxProofFile = 8 << 20

// verifyProof checks a proof and says what it shows.
func verifyProof(env *environment, path string, keys, checkpoints []string, output string) error {
	if len(keys) == 0 {
		return usageError{errors.New("--proof needs --key: the key of the node, from somebody you believe (arca audit key prints it)"), "arca audit verify"}
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open proof: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxProofFile))
	if err != nil {
		return fmt.Errorf("read proof: %w", err)
	}
	known, err := verifierKeys(keys)
	if err != nil {
		return err
	}
	v := proofVerdict{}
	v.check(text, known, checkpoints)
	if output == outputJSON {
		if err := printJSON(env.out, &v); err != nil {
			return err
		}
	} else {
		v.print(env.out)
	}
	if len(v.Problems) > 0 {
		return errProblems
	}
	return nil
}

// proofVerdict is what is to be said of a proof.
type proofVerdict struct {
	Proven   bool            `json:"Proven"`
	Problems []string        `json:"Problems,omitempty"`
	Line     uint64          `json:"Line"`
	Log      string          `json:"Log"`
	Key      string          `json:"Key"`
	Size     uint64          `json:"Size"`
	Signed   time.Time       `json:"Signed"`
	Kept     bool            `json:"IsOneOfTheGivenCheckpoints"`
	Record   json.RawMessage `json:"Record"`
}

func (v *proofVerdict) check(text []byte, keys []string, checkpoints []string) {
	problem := errors.New("no key was given")
	var p *merkle.Proof
	var c merkle.Checkpoint
	for _, key := range keys {
		if p, c, problem = merkle.CheckProof(text, nil, key); problem == nil {
			v.Key = key
			break
		}
	}
	if problem != nil {
		v.Problems = append(v.Problems, problem.Error())
		return
	}
	v.Line, v.Log, v.Size, v.Signed, v.Record = p.Index, c.Origin, c.Size, c.Time, p.Extra
	for _, kept := range checkpoints {
		other, err := openKept(kept, keys)
		switch {
		case err != nil:
			v.Problems = append(v.Problems, fmt.Sprintf("%s: %v", kept, err))
		case other.Origin != c.Origin:
			v.Problems = append(v.Problems, fmt.Sprintf("%s is of another log, %s", kept, other.Origin))
		case other.Size == c.Size && other.Root != c.Root:
			v.Problems = append(v.Problems, fmt.Sprintf("%s and the proof disagree: the node has signed two different logs of %d lines", kept, c.Size))
		case other.Size == c.Size:
			v.Kept = true
		default:
			v.Problems = append(v.Problems, fmt.Sprintf(
				"the proof is for a checkpoint of %d lines, %s has %d: ask for one that is made with --checkpoint %s", c.Size, kept, other.Size, kept))
		}
	}
	v.Proven = len(v.Problems) == 0
}

func (v *proofVerdict) print(w io.Writer) {
	if len(v.Problems) > 0 {
		for _, p := range v.Problems {
			fmt.Fprintf(w, "NOT PROVEN: %s\n", printable(p))
		}
		return
	}
	fmt.Fprintf(w, "proven: line %d of the log %s is this record, and was when the node signed %d lines on %s\n",
		v.Line, v.Log, v.Size, v.Signed.Format(time.RFC3339))
	if v.Kept {
		fmt.Fprintln(w, "proven: that signature is over the same lines as the checkpoint you have kept")
	}
	if r, err := parseRecord(&auditEvent{Record: string(v.Record)}); err == nil {
		fmt.Fprintf(w, "\n  %s\n", strings.Join(r.columns(), "  "))
	}
	fmt.Fprintf(w, "\n%s\n\n", printable(string(v.Record)))
	fmt.Fprintf(w, "checked with the key %s\n", v.Key)
	fmt.Fprintln(w, "not proven: that the key is the server's, that what the server wrote is true, or that nothing else happened")
}

// openKept reads a checkpoint that somebody has kept.
func openKept(path string, keys []string) (merkle.Checkpoint, error) {
	text, err := readNote(path)
	if err != nil {
		return merkle.Checkpoint{}, err
	}
	return openCheckpoint([]byte(text), keys)
}
