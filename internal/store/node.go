package store

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	nodeFileName = "node.json"
	lockFileName = "lock"
	etcdDirName  = "etcd"
	nodeFormat   = 1
)

// nodeFile is the identity of a node. It is not secret. JSON, because an operator
// who sorts out two copied data directories has to read it.
type nodeFile struct {
	Format       int    `json:"format"`
	NodeID       string `json:"nodeId"`
	ClusterToken string `json:"clusterToken"`
	DeploymentID string `json:"deploymentId,omitempty"`
	// Keys are the newest that the node has used.
	Keys *nodeKeys `json:"keys,omitempty"`
}

// nodeKeys names keys that only ever get newer while they have the same id. Somebody
// who controls etcd and not the data directory, as with an external cluster, cannot
// have a node start again under keys that were replaced, whose secrets he may know.
type nodeKeys struct {
	KEK            string `json:"kek"`
	KEKVersion     uint32 `json:"kekVersion"`
	StorageVersion uint32 `json:"storageVersion"`
}

// node is this process's hold on its data directory and its identity.
type node struct {
	id    string
	token string
	known string // deployment id that the directory belongs to, "" if not known yet
	keys  *nodeKeys
	dir   string
	lock  *os.File
}

func randomID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// open locks the directory and reads or makes the identity. Without a directory the
// identity lives as long as the process.
func (n *node) open(dir string) error {
	if dir == "" {
		n.id, n.token = randomID(), randomID()
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create data directory: %w", err)
	}
	n.dir = dir
	if err := n.acquire(); err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(dir, nodeFileName))
	if errors.Is(err, fs.ErrNotExist) {
		// A member without its identity could join the wrong cluster under the wrong name.
		if _, err := os.Stat(filepath.Join(dir, etcdDirName)); err == nil {
			return fmt.Errorf("data directory %s has a database but no %s: restore that file", dir, nodeFileName)
		}
		n.id, n.token = randomID(), randomID()
		return n.write()
	}
	if err != nil {
		return fmt.Errorf("read node identity: %w", err)
	}
	f, err := parseNodeFile(raw)
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(dir, nodeFileName), err)
	}
	n.id, n.token, n.known, n.keys = f.NodeID, f.ClusterToken, f.DeploymentID, f.Keys
	return nil
}

func parseNodeFile(raw []byte) (nodeFile, error) {
	var f nodeFile
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return f, err
	}
	if _, err := d.Token(); err != io.EOF {
		return f, errors.New("more than one value")
	}
	if f.Format != nodeFormat {
		return f, fmt.Errorf("format %d is not known to this version of arca", f.Format)
	}
	for _, id := range []string{f.NodeID, f.ClusterToken, f.DeploymentID} {
		if id == "" && f.NodeID != "" && f.ClusterToken != "" {
			continue // the deployment is not known before the store is created
		}
		if raw, err := hex.DecodeString(id); err != nil || len(raw) != 16 {
			return f, errors.New("an id is not 32 hexadecimal digits")
		}
	}
	if f.Keys != nil {
		if raw, err := hex.DecodeString(f.Keys.KEK); err != nil || len(raw) != 16 {
			return f, errors.New("the id of the KEK is not 32 hexadecimal digits")
		}
	}
	return f, nil
}

// checkKeys refuses keys that are older than those which the node has used.
func (n *node) checkKeys(k nodeKeys) error {
	if n.keys == nil || n.keys.KEK != k.KEK || (k.KEKVersion >= n.keys.KEKVersion && k.StorageVersion >= n.keys.StorageVersion) {
		return nil
	}
	return fmt.Errorf("etcd holds older keys (KEK version %d, storage key version %d) than this node has used (%d, %d): somebody put them back; if that was you, with an older copy of the database, remove \"keys\" from %s",
		k.KEKVersion, k.StorageVersion, n.keys.KEKVersion, n.keys.StorageVersion, filepath.Join(n.dir, nodeFileName))
}

// noteKeys remembers the keys in use for the next start.
func (n *node) noteKeys(k nodeKeys) error {
	if n.keys != nil && *n.keys == k {
		return nil
	}
	n.keys = &k
	if n.dir == "" {
		return nil
	}
	return n.write()
}

// settle notes which deployment the directory belongs to, and refuses one that
// belongs to another.
func (n *node) settle(deployment string) error {
	if n.known == deployment {
		return nil
	}
	if n.known != "" {
		return fmt.Errorf("data directory %s belongs to deployment %s, but etcd holds %s", n.dir, n.known, deployment)
	}
	n.known = deployment
	if n.dir == "" {
		return nil
	}
	return n.write()
}

// write replaces the identity file. After a crash there is the old file or the new.
func (n *node) write() error {
	raw, err := json.MarshalIndent(nodeFile{nodeFormat, n.id, n.token, n.known, n.keys}, "", "  ")
	if err != nil {
		return fmt.Errorf("write node identity: %w", err)
	}
	if err := writeFile(n.dir, nodeFileName, append(raw, '\n')); err != nil {
		return fmt.Errorf("write node identity: %w", err)
	}
	return nil
}

func writeFile(dir, name string, content []byte) (err error) {
	f, err := os.CreateTemp(dir, name+".*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// acquire takes the lock that two processes cannot hold. The kernel drops it with
// the process, so a crash leaves nothing to clean up.
func (n *node) acquire() error {
	f, err := os.OpenFile(filepath.Join(n.dir, lockFileName), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("lock data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("data directory %s is in use by %s", n.dir, holder(f))
		} else {
			err = fmt.Errorf("lock data directory: %w", err)
		}
		return errors.Join(err, f.Close())
	}
	n.lock = f
	pid := []byte(strconv.Itoa(os.Getpid()) + "\n")
	if _, err := f.WriteAt(pid, 0); err != nil {
		return fmt.Errorf("lock data directory: %w", err)
	}
	if err := f.Truncate(int64(len(pid))); err != nil {
		return fmt.Errorf("lock data directory: %w", err)
	}
	return nil
}

// holder names who has the lock. The number in the file is for people; the lock does
// not depend on it.
func holder(f *os.File) string {
	raw, err := io.ReadAll(io.LimitReader(f, 20))
	if err != nil {
		return "another process"
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return "another process"
	}
	return fmt.Sprintf("process %d", pid)
}

func (n *node) close() error {
	if n.lock == nil {
		return nil
	}
	f := n.lock
	n.lock = nil
	return errors.Join(f.Truncate(0), f.Close())
}
