package admin_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/backup"
	"arca/internal/envelope"
	"arca/internal/store"
	"arca/internal/storetest"
)

// backup reads a backup to its end and returns its file.
func (b *bed) backup(t *testing.T, key []byte, id string) []byte {
	t.Helper()
	in := &arcaapi.BeginBackupInput{}
	if key != nil {
		in.WrappingKey, in.WrappingKeyId, in.WrappingParams = key, &id, []byte("parameters")
	}
	begun := must[arcaapi.BeginBackupOutput](t, b, arcaapi.OpBeginBackup, in, root)
	file := bytes.Clone(begun.Header)
	for cursor := begun.Cursor; cursor != nil; {
		in := &arcaapi.ReadBackupInput{BackupId: *begun.BackupId, Header: begun.Header, Cursor: *cursor, WrappingKey: key}
		if key != nil {
			in.WrappingKeyId = &id
		}
		p := must[arcaapi.ReadBackupOutput](t, b, arcaapi.OpReadBackup, in, root)
		file, cursor = append(file, p.Frame...), p.Cursor
		if *p.Records > *begun.Records {
			t.Errorf("%d records read of %d", *p.Records, *begun.Records)
		}
	}
	return file
}

func TestBackup(t *testing.T) {
	b := newBed(t, false)
	owner := b.account(t, "tenant")
	raw := b.backup(t, nil, "")
	r, err := backup.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	key, err := r.Header().Open(t.Context(), backup.Unlock{RootKey: b.rootKey})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify(key, nil, func(int64) {}); err != nil {
		t.Errorf("Verify: %v", err)
	}

	// It becomes a store that knows the account.
	cfg := store.Config{Dir: filepath.Join(t.TempDir(), "store"), RootKey: b.rootKey, Logger: storetest.Logger(t)}
	other := &bed{dir: filepath.Dir(cfg.Dir), rootKey: b.rootKey}
	s := store.New(cfg)
	other.attach(s, false)
	if _, err := backup.Restore(t.Context(), s, bytes.NewReader(raw), backup.Unlock{RootKey: b.rootKey}, func(backup.Stage, int64) {}); err != nil {
		t.Fatalf("Restore: %v", err)
	}
	other.open(t, false)
	accounts := must[arcaapi.ListAccountsOutput](t, other, arcaapi.OpListAccounts, &arcaapi.ListAccountsInput{}, root)
	if len(accounts.Accounts) != 2 || *accounts.Accounts[1].AccountId != owner.Account && *accounts.Accounts[0].AccountId != owner.Account {
		t.Errorf("accounts after the restore: %+v", accounts.Accounts)
	}
}

func TestBackupUnderAPassphrase(t *testing.T) {
	b := newBed(t, false)
	key := bytes.Repeat([]byte{7}, 32)
	id := envelope.NewKeyID()
	raw := b.backup(t, key, id.String())
	r, err := backup.NewReader(bytes.NewReader(raw))
	if err != nil || r.Header().Root != nil || string(r.Header().Passphrase) != "parameters" {
		t.Fatalf("NewReader: %v, header %+v", err, r.Header())
	}
	log := readAll(t, b.logDir())
	if strings.Contains(log, "BwcHBwcH") || strings.Contains(log, "070707") || !strings.Contains(log, r.Header().Backup) {
		t.Errorf("the audit log has the key, or not the backup:\n%s", log)
	}
}

// The end of a backup is recorded, and a part that is refused. (That the parts between
// first and last are not, cmd/arca tests with a store that has some.)
func TestBackupIsRecorded(t *testing.T) {
	b := newBed(t, false)
	begun := must[arcaapi.BeginBackupOutput](t, b, arcaapi.OpBeginBackup, &arcaapi.BeginBackupInput{}, root)
	in := &arcaapi.ReadBackupInput{BackupId: *begun.BackupId, Header: begun.Header, Cursor: "c"}
	b.refused(t, arcaapi.OpReadBackup, in, root)
	in.Cursor = *begun.Cursor
	p := must[arcaapi.ReadBackupOutput](t, b, arcaapi.OpReadBackup, in, root)
	lines := strings.Split(strings.TrimSpace(readAll(t, b.logDir())), "\n")
	for i, want := range [][]string{
		{`"eventName":"BeginBackup"`, fmt.Sprintf(`"revision":%d`, *begun.Revision), fmt.Sprintf(`"records":%d`, *begun.Records), *begun.BackupId},
		{`"eventName":"ReadBackup"`, "BackupExpiredException", *begun.BackupId},
		{`"eventName":"ReadBackup"`, fmt.Sprintf(`"records":%d,"bytes":%d`, *p.Records, *p.Bytes), *begun.BackupId},
	} {
		line := lines[len(lines)-3+i]
		for _, w := range want {
			if !strings.Contains(line, w) {
				t.Errorf("line %d has no %s:\n%s", i, w, line)
			}
		}
		if strings.Contains(line, "cursor") || strings.Contains(line, "header") || strings.Contains(line, "frame") {
			t.Errorf("line %d shows what is sealed:\n%s", i, line)
		}
	}
}

func TestBackupErrors(t *testing.T) {
	b := newBed(t, false)
	begun := must[arcaapi.BeginBackupOutput](t, b, arcaapi.OpBeginBackup, &arcaapi.BeginBackupInput{}, root)
	key := bytes.Repeat([]byte{7}, 32)
	id := envelope.NewKeyID().String()
	other := strings.Repeat("0", 32)
	for _, tc := range []struct {
		name string
		op   *api.Operation
		in   any
		want string
	}{
		{"key without id", arcaapi.OpBeginBackup, &arcaapi.BeginBackupInput{WrappingKey: key}, "InvalidParameterException: WrappingKey and WrappingKeyId go together"},
		{"id without key", arcaapi.OpBeginBackup, &arcaapi.BeginBackupInput{WrappingKeyId: &id}, "InvalidParameterException: WrappingKey and WrappingKeyId go together"},
		{"no parameters", arcaapi.OpBeginBackup, &arcaapi.BeginBackupInput{WrappingKey: key, WrappingKeyId: &id}, "InvalidParameterException: WrappingKey and WrappingParams go together"},
		{"parameters only", arcaapi.OpBeginBackup, &arcaapi.BeginBackupInput{WrappingParams: key}, "InvalidParameterException: WrappingKey and WrappingParams go together"},
		{"id of another form", arcaapi.OpBeginBackup, &arcaapi.BeginBackupInput{WrappingKey: key, WrappingKeyId: new(strings.Repeat("X", 32)), WrappingParams: key}, "InvalidParameterException: WrappingKeyId is not 32"},
		{"short key", arcaapi.OpBeginBackup, &arcaapi.BeginBackupInput{WrappingKey: key[1:], WrappingKeyId: &id, WrappingParams: key}, "InvalidParameterException: WrappingKey does not have 32 bytes"},
		{"no header", arcaapi.OpReadBackup, &arcaapi.ReadBackupInput{BackupId: other, Header: []byte("x"), Cursor: "c"}, "InvalidParameterException: The header is not one of a backup: not a backup of arca."},
		{"another backup", arcaapi.OpReadBackup, &arcaapi.ReadBackupInput{BackupId: other, Header: begun.Header, Cursor: *begun.Cursor}, "InvalidParameterException: The header is of backup"},
		{"another kind of key", arcaapi.OpReadBackup, &arcaapi.ReadBackupInput{BackupId: *begun.BackupId, Header: begun.Header, Cursor: *begun.Cursor, WrappingKey: key, WrappingKeyId: &id}, "InvalidParameterException: The backup was begun with another key."},
		{"cursor", arcaapi.OpReadBackup, &arcaapi.ReadBackupInput{BackupId: *begun.BackupId, Header: begun.Header, Cursor: "c"}, "BackupExpiredException: The backup cannot go on"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := b.refused(t, tc.op, tc.in, root); !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s: %s, want %s", tc.op.Name, got, tc.want)
			}
		})
	}

	t.Run("too many", func(t *testing.T) {
		for range 40 {
			out, err := b.call(arcaapi.OpBeginBackup, &arcaapi.BeginBackupInput{}, root)
			if err == nil {
				_ = out
				continue
			}
			if aerr, ok := errors.AsType[*api.Error](err); !ok || aerr.Code != arcaapi.LimitExceededException {
				t.Errorf("BeginBackup = %v, want LimitExceededException", err)
			}
			return
		}
		t.Error("backups begin without a bound")
	})
}
