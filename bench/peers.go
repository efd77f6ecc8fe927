package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// peer is another program that keeps secrets, measured beside Arca where the machine has
// it.
type peer struct {
	name    string
	version string
	proc    *process
	// requests are what it is sent in a row, nil when it has nothing like it.
	requests func(ctx context.Context, o options, r *row) (*requests, error)
}

// The rows in which key-value peers have something to do.
const (
	kvRead  = "read"
	kvWrite = "write"
)

// startPeers starts the peers that are chosen and in PATH. One that is missing, or does
// not start, is told of, and no error.
func (c *cast) startPeers(ctx context.Context, ch choice) error {
	for _, p := range []struct {
		name, program string
		start         func(ctx context.Context, o options, dir, program string) (*peer, error)
	}{
		{motoName, "moto_server", startMoto},
		{"openbao", "bao", startOpenBao},
		{"vault", "vault", startVault},
	} {
		if !ch.contender(p.name) {
			continue
		}
		path, err := exec.LookPath(p.program)
		if err != nil {
			fmt.Printf("%s: not measured, %s is not in PATH\n", p.name, p.program)
			continue
		}
		dir := filepath.Join(c.dir, p.name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		started, err := p.start(ctx, c.o, dir, path)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			fmt.Printf("%s: not measured: %v\n%s", p.name, err, lastLines(filepath.Join(dir, outputName)))
			continue
		}
		c.peers = append(c.peers, started)
		fmt.Printf("%s: %s\n", p.name, started.version)
	}
	return nil
}

// outputName is the file with what a peer says.
const outputName = "output.log"

// lastLines is the end of a file, for a message.
func lastLines(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-4000):])
}

// launch starts a program that serves at an address it was told, and writes what it has
// to say to a file.
func launch(ctx context.Context, addr, dir, program string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, outputName))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, addr: addr}
	if err := awaitHTTP(ctx, addr); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// motoSecrets are fewer than ours: moto would take a minute for them, and its rate does
// not depend on their number.
const motoSecrets = 200

// startMoto starts moto's server, a test double without signatures, decisions, audit or
// disk, the way its documentation does.
func startMoto(ctx context.Context, o options, dir, program string) (*peer, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(addr, ":")
	proc, err := launch(ctx, addr, dir, program, "-H", "127.0.0.1", "-p", port)
	if err != nil {
		return nil, err
	}
	p := &peer{name: motoName, proc: proc, version: firstLine(ctx, "python3", "-c", "import moto; print(moto.__version__)")}
	o.connections = 1 // it is not safe for concurrent use
	w, err := newWorld(ctx, o, proc, min(o.secrets, motoSecrets), motoSecrets)
	if err != nil {
		proc.stop()
		return nil, fmt.Errorf("set up: %w", err)
	}
	p.requests = func(_ context.Context, _ options, r *row) (*requests, error) { return r.build(w) }
	return p, nil
}

// firstLine is what a program says about its version.
func firstLine(ctx context.Context, program string, args ...string) string {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return "unknown version"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
