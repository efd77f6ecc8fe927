package sts

import (
	"context"

	"arca/internal/api/stsapi"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/store"
)

// GetAccessKeyInfo names the account of an access key, whoever's it is. Like AWS it
// takes the account of temporary credentials from the id itself, so that it knows also
// those that have expired.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetAccessKeyInfo.html
func (s *Service) GetAccessKeyInfo(ctx context.Context, c *call.Call, in *stsapi.GetAccessKeyInfoInput) (*stsapi.GetAccessKeyInfoOutput, error) {
	// Of STS's operations, credentials of GetSessionToken open only AssumeRole and
	// GetCallerIdentity.
	if c.Caller.Session != nil && c.Caller.Type != call.AssumedRole {
		if err := refuseSession(c); err != nil {
			return nil, err
		}
	}
	if err := c.Authorize(ctx, &call.Check{Action: "sts:GetAccessKeyInfo", Resource: "*"}); err != nil {
		return nil, err
	}
	account := ""
	err := s.store.View(ctx, func(v *store.Snap) error {
		account = ""
		if k := s.iam.AccessKey(v, in.AccessKeyId); k != nil {
			account = k.Account
		} else if id, ok := iam.SessionKeyAccount(in.AccessKeyId); ok && s.iam.Account(v, id) != nil {
			account = id
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if account == "" {
		return nil, stsapi.ValidationError.Errorf("The access key with id %s cannot be found.", in.AccessKeyId)
	}
	return &stsapi.GetAccessKeyInfoOutput{Account: &account}, nil
}
