package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// fillChunk is how many secrets are made before they all get their second version:
// what a fill that is cut off repeats.
const fillChunk = 2000

// filled is how many secrets are complete. A fill that was cut off has written some more.
func (h scaleHome) filled() (int, error) {
	raw, err := os.ReadFile(filepath.Join(h.dir, "filled"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(raw)))
}

// setFilled is called when everything up to n was answered, which is when it is durable.
func (h scaleHome) setFilled(n int) error {
	path := filepath.Join(h.dir, "filled")
	if err := os.WriteFile(path+".new", []byte(strconv.Itoa(n)+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// fill brings the home up to its size, if it is not there yet, with a server that is
// stopped again afterwards.
func (h scaleHome) fill(ctx context.Context, o options) (err error) {
	have, err := h.filled()
	if err != nil || have >= h.size {
		return err
	}
	server, err := h.start(ctx, o)
	if err != nil {
		return err
	}
	defer server.proc.stop()
	return fillScale(ctx, server.caller(), o.connections, have, h.size, func(n int, rate float64) error {
		left := time.Duration(float64(h.size-n) / rate * float64(time.Second))
		fmt.Printf("%s: %d of %d secrets, %.0f/s, %v left\n", h.dir, n, h.size, rate, left.Round(time.Second))
		return h.setFilled(n)
	})
}

// fillScale makes the secrets from one number up to another through the API of a server,
// gives each a second version and reads most of them. It may be repeated: requests carry
// tokens. progress is told how many are complete, and how many a second were lately.
func fillScale(ctx context.Context, who caller, connections, from, to int, progress func(n int, rate float64) error) error {
	for begin := from; begin < to; begin += fillChunk {
		began, end := time.Now(), min(to, begin+fillChunk)
		for _, step := range []func(i int) (operation string, in any){
			func(i int) (string, any) {
				return "CreateSecret", map[string]any{
					"Name": scaleName(i), "ClientRequestToken": scaleToken(i, 1), "SecretString": scaleValue(i, 1),
					"Description": scaleDescription(i), "Tags": scaleTags(i),
				}
			},
			func(i int) (string, any) {
				return "PutSecretValue", map[string]any{
					"SecretId": scaleName(i), "ClientRequestToken": scaleToken(i, 2), "SecretString": scaleValue(i, 2),
				}
			},
			func(i int) (string, any) {
				if !scaleIsRead(i) {
					return "DescribeSecret", map[string]any{"SecretId": scaleName(i)}
				}
				return "GetSecretValue", map[string]any{"SecretId": scaleName(i)}
			},
		} {
			var failed error
			l := &load{addr: who.addr, connections: connections, count: int64(end - begin), anyLength: true}
			l.next = func(n int64) []byte {
				operation, in := step(begin + int(n))
				r, err := who.request(secretsManager, operation, in)
				if err != nil {
					failed = err
				}
				return r
			}
			_, err := l.run(ctx)
			if err := errors.Join(err, failed); err != nil {
				return fmt.Errorf("fill secrets %d to %d: %w", begin, end, err)
			}
		}
		if err := progress(end, float64(end-begin)/time.Since(began).Seconds()); err != nil {
			return err
		}
	}
	return nil
}
