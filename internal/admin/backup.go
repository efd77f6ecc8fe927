package admin

import (
	"context"
	"errors"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/backup"
	"arca/internal/call"
	"arca/internal/envelope"
	"arca/internal/store"
)

// BeginBackup fixes the state that a backup will hold, and answers with the beginning
// of its file.
func (s *Service) BeginBackup(ctx context.Context, c *call.Call, in *arcaapi.BeginBackupInput) (*arcaapi.BeginBackupOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:BeginBackup", Resource: "*"}); err != nil {
		return nil, err
	}
	w, err := wrapping(in.WrappingKey, in.WrappingKeyId)
	if err != nil {
		return nil, err
	}
	if (w.Key != nil) != (len(in.WrappingParams) > 0) {
		return nil, arcaapi.InvalidParameterException.Errorf("WrappingKey and WrappingParams go together.")
	}
	if w.Key != nil {
		defer w.Key.Wipe()
		w.Params = in.WrappingParams
	}
	b, err := s.backups.Begin(ctx, c.Now, w)
	if err != nil {
		return nil, backupError(err)
	}
	cursor := api.SensitiveString(b.Cursor)
	return &arcaapi.BeginBackupOutput{
		BackupId: &b.Header.Backup, Revision: &b.Header.Revision, Records: &b.Header.Records, Header: b.Raw, Cursor: &cursor,
	}, nil
}

// ReadBackup answers with the next part of the file.
//
// Only the first and the last part of a backup are recorded, and what is refused. The
// key that opens the parts was chosen in BeginBackup, which is recorded: reading a part
// shows nobody anything that he could not have read then.
func (s *Service) ReadBackup(ctx context.Context, c *call.Call, in *arcaapi.ReadBackupInput) (*arcaapi.ReadBackupOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:ReadBackup", Resource: "*"}); err != nil {
		return nil, err
	}
	w, err := wrapping(in.WrappingKey, in.WrappingKeyId)
	if err != nil {
		return nil, err
	}
	if w.Key != nil {
		defer w.Key.Wipe()
	}
	h, err := backup.ParseHeader(in.Header)
	if err != nil {
		return nil, arcaapi.InvalidParameterException.Errorf("The header is not one of a backup: %s.", err)
	}
	if h.Backup != in.BackupId {
		return nil, arcaapi.InvalidParameterException.Errorf("The header is of backup %s, not %s.", h.Backup, in.BackupId)
	}
	p, err := s.backups.Read(ctx, h, string(in.Cursor), w)
	if err != nil {
		return nil, backupError(err)
	}
	out := &arcaapi.ReadBackupOutput{Frame: p.Frame, Records: &p.Records, Bytes: &p.Bytes}
	if p.Cursor != "" {
		cursor := api.SensitiveString(p.Cursor)
		out.Cursor = &cursor
		if !p.First {
			c.OmitRecord("the backup's first and last part are recorded")
		}
	}
	return out, nil
}

// wrapping is the key that the caller derived from a passphrase, if he sent one.
func wrapping(secret api.SensitiveBytes, id *string) (backup.Wrapping, error) {
	if len(secret) == 0 && id == nil {
		return backup.Wrapping{}, nil
	}
	if len(secret) == 0 || id == nil {
		return backup.Wrapping{}, arcaapi.InvalidParameterException.Errorf("WrappingKey and WrappingKeyId go together.")
	}
	keyID, err := envelope.ParseKeyID(*id)
	if err != nil {
		return backup.Wrapping{}, arcaapi.InvalidParameterException.Errorf("WrappingKeyId is not 32 lower-case hexadecimal digits.")
	}
	key, err := envelope.NewKey(keyID, 1, secret)
	if err != nil {
		return backup.Wrapping{}, arcaapi.InvalidParameterException.Errorf("WrappingKey does not have 32 bytes.")
	}
	return backup.Wrapping{Key: key}, nil
}

func backupError(err error) error {
	switch {
	case errors.Is(err, backup.ErrGone):
		return arcaapi.BackupExpiredException.Wrap(err, "The backup cannot go on, because the state it holds is gone from the server or the root key was rotated. Begin a new one.")
	case errors.Is(err, backup.ErrKey):
		return arcaapi.InvalidParameterException.Wrap(err, "The backup was begun with another key.")
	case errors.Is(err, store.ErrExports):
		return arcaapi.LimitExceededException.Wrap(err, "Too many backups are under way. Try again when one has ended; one that was given up ends after ten minutes.")
	case errors.Is(err, store.ErrRefusedValues):
		return arcaapi.InvalidRequestException.Wrap(err, "The database holds records that this server has refused, and a backup would hold them, too. Stop the server and run arca fsck.")
	case errors.Is(err, store.ErrUnreadable):
		return arcaapi.InvalidRequestException.Wrap(err, "A record in the database does not open; the server's log names it. Stop the server and run arca fsck.")
	}
	return err
}
