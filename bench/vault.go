package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed peers/*.hcl
var peerConfigs embed.FS

// vault is a server of Vault or OpenBao, whose API is the same: initialised, unsealed,
// with the file audit device and a KV v2 engine, and a token with ten policies, of
// which one allows.
type vault struct {
	proc  *process
	token string
}

func startVault(ctx context.Context, o options, dir, program string) (*peer, error) {
	return startKV(ctx, o, dir, program, "vault")
}

func startOpenBao(ctx context.Context, o options, dir, program string) (*peer, error) {
	return startKV(ctx, o, dir, program, "openbao")
}

func startKV(ctx context.Context, o options, dir, program, name string) (_ *peer, err error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	cluster, err := freeAddress()
	if err != nil {
		return nil, err
	}
	config, err := peerConfigs.ReadFile("peers/" + name + ".hcl")
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer("@DIR@", dir, "@ADDRESS@", addr, "@CLUSTER@", cluster).Replace(string(config))
	path := filepath.Join(dir, name+".hcl")
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Mkdir(filepath.Join(dir, "raft"), 0o700)); err != nil {
		return nil, err
	}
	v := &vault{}
	if v.proc, err = launch(ctx, addr, dir, program, "server", "-config="+path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			v.proc.stop()
		}
	}()
	if err := v.setUp(ctx, filepath.Join(dir, "audit.log")); err != nil {
		return nil, err
	}
	if err := v.fill(ctx, o); err != nil {
		return nil, fmt.Errorf("write secrets: %w", err)
	}
	if info, err := os.Stat(filepath.Join(dir, "audit.log")); err != nil || info.Size() == 0 {
		return nil, errors.Join(errors.New("nothing was audited"), err)
	}
	version, _, _ := strings.Cut(firstLine(ctx, program, "version"), ",") // when it was built does not matter
	return &peer{
		name: name, proc: v.proc, version: version,
		requests: func(_ context.Context, o options, r *row) (*requests, error) {
			switch r.kv {
			case kvRead:
				return v.reads(o), nil
			case kvWrite:
				return v.writes(), nil
			}
			return nil, nil
		},
	}, nil
}

// send makes a request that is not measured.
func (v *vault) send(method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, "http://"+v.proc.addr+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if v.token != "" {
		req.Header.Set("X-Vault-Token", v.token)
	}
	answer, err := fetch(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// patiently tries for a while: a server that was just unsealed, or a mount that was just
// made, is not ready at once.
func patiently(ctx context.Context, try func() error) (err error) {
	for range 100 {
		if err = try(); err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (v *vault) setUp(ctx context.Context, auditLog string) error {
	var keys struct {
		KeysBase64 []string `json:"keys_base64"`
		RootToken  string   `json:"root_token"`
	}
	if err := v.send(http.MethodPut, "sys/init", map[string]int{"secret_shares": 1, "secret_threshold": 1}, &keys); err != nil {
		return err
	}
	if len(keys.KeysBase64) == 0 {
		return errors.New("sys/init gave no key")
	}
	if err := v.send(http.MethodPut, "sys/unseal", map[string]string{"key": keys.KeysBase64[0]}, nil); err != nil {
		return err
	}
	v.token = keys.RootToken
	var devices struct{ Data map[string]any }
	if err := patiently(ctx, func() error { return v.send(http.MethodGet, "sys/audit", nil, &devices) }); err != nil {
		return err
	}
	if len(devices.Data) == 0 {
		device := map[string]any{"type": "file", "options": map[string]string{"file_path": auditLog}}
		if err := v.send(http.MethodPut, "sys/audit/file", device, nil); err != nil {
			return err
		}
	}
	if err := v.send(http.MethodPost, "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}, nil); err != nil {
		return err
	}
	return v.makeToken(ctx)
}

// makeToken makes the caller of both rows; the documentation advises against using the
// root token for anything.
func (v *vault) makeToken(ctx context.Context) error {
	var names []string
	for i := range 10 {
		rules := fmt.Sprintf("path \"kv/data/team-%d/*\" { capabilities = [\"read\"] }\npath \"kv/metadata/team-%d/*\" { capabilities = [\"list\"] }\n", i, i)
		if i == allowing {
			rules = "path \"kv/data/bench/*\" { capabilities = [\"create\", \"read\", \"update\"] }\n"
		}
		names = append(names, "bench-"+strconv.Itoa(i))
		if err := v.send(http.MethodPut, "sys/policies/acl/"+names[i], map[string]string{"policy": rules}, nil); err != nil {
			return err
		}
	}
	var made struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		}
	}
	if err := v.send(http.MethodPost, "auth/token/create", map[string]any{"policies": names, "ttl": "24h"}, &made); err != nil {
		return err
	}
	v.token = made.Auth.ClientToken
	return patiently(ctx, func() error { return v.send(http.MethodPost, "kv/data/bench/first", kvValue("first"), nil) })
}

func kvValue(password string) any {
	return map[string]any{"data": map[string]string{"username": "app", "password": password}}
}

func kvPassword(name string) string { return "of " + name + ", ordinary length" }

// request makes the bytes of a request, as plain as a client of the API sends it.
func (v *vault) request(method, path string, in any) ([]byte, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
	}
	head := fmt.Sprintf("%s /v1/%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nX-Vault-Token: %s\r\n", method, path, v.proc.addr, userAgent, v.token)
	if in != nil {
		head += "Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	return append([]byte(head+"\r\n"), body...), nil
}

func (v *vault) fill(ctx context.Context, o options) error {
	var reqs [][]byte
	for i := range o.secrets {
		r, err := v.request(http.MethodPost, "kv/data/"+secretName(readPrefix, i), kvValue(kvPassword(secretName(readPrefix, i))))
		if err != nil {
			return err
		}
		reqs = append(reqs, r)
	}
	_, err := drive(ctx, v.proc.addr, o.connections, int64(len(reqs)), 0, func(n int64) []byte { return reqs[n] })
	return err
}

func (v *vault) reads(o options) *requests {
	return &requests{sign: func(int) (all []request, err error) {
		for i := range o.secrets {
			name := secretName(readPrefix, i)
			r, err := v.request(http.MethodGet, "kv/data/"+name, nil)
			if err != nil {
				return nil, err
			}
			all = append(all, request{r, []byte(kvPassword(name))})
		}
		return all, nil
	}}
}

// writes can be repeated: each makes a version of its own.
func (v *vault) writes() *requests {
	return &requests{sign: func(int) (all []request, err error) {
		for i := range writeSecrets {
			name := secretName(writePrefix, i)
			r, err := v.request(http.MethodPost, "kv/data/"+name, kvValue(kvPassword(name)))
			if err != nil {
				return nil, err
			}
			all = append(all, request{r, []byte(`"version"`)})
		}
		return all, nil
	}}
}
