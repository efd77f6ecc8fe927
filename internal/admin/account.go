package admin

import (
	"context"
	"errors"
	"time"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/store"
)

// CreateAccount makes an account and the access key of its root. The secret is shown
// this once; CreateRootAccessKey makes another.
func (s *Service) CreateAccount(ctx context.Context, c *call.Call, in *arcaapi.CreateAccountInput) (*arcaapi.CreateAccountOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:CreateAccount", Resource: "*"}); err != nil {
		return nil, err
	}
	if !iam.ValidAccountName(in.Name) {
		return nil, arcaapi.InvalidParameterException.Errorf("The account name %q is not 1 to 50 letters, digits, spaces or any of +=,.@_- that begin with a letter or digit, or it has the form of an account id.", in.Name)
	}
	key, err := s.iam.DrawRootKey("")
	if err != nil {
		return nil, err
	}
	defer key.Secret.Wipe()
	err = c.Update(ctx, s.store, func(tx *store.Tx) error {
		err := s.iam.CreateAccount(tx, c.Now, in.Name, key)
		if errors.Is(err, iam.ErrAccountName) {
			return arcaapi.AlreadyExistsException.Errorf("There is an account named %s already.", in.Name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &arcaapi.CreateAccountOutput{AccountId: &key.Account, AccessKeyId: &key.ID, SecretAccessKey: secretOf(key)}, nil
}

// secretOf copies the secret for the answer.
func secretOf(key *iam.RootKey) *api.SensitiveString {
	secret := api.SensitiveString(key.Secret.Bytes())
	return &secret
}

// CreateRootAccessKey makes a further access key for the root of an account, or one
// that replaces all it had.
func (s *Service) CreateRootAccessKey(ctx context.Context, c *call.Call, in *arcaapi.CreateRootAccessKeyInput) (*arcaapi.CreateRootAccessKeyOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:CreateRootAccessKey", Resource: "*"}); err != nil {
		return nil, err
	}
	id, err := s.accountID(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	key, err := s.iam.DrawRootKey(id)
	if err != nil {
		return nil, err
	}
	defer key.Secret.Wipe()
	err = c.Update(ctx, s.store, func(tx *store.Tx) error {
		err := s.iam.AddRootKey(tx, c.Now, key, in.ReplaceExisting != nil && *in.ReplaceExisting)
		switch {
		case errors.Is(err, iam.ErrNoAccount):
			return errNoAccount(in.Account)
		case errors.Is(err, iam.ErrRootKeys):
			return arcaapi.LimitExceededException.Errorf("The root of account %s has %d access keys, which is the most. Replace them or delete one.", id, iam.MaxRootKeys)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &arcaapi.CreateRootAccessKeyOutput{AccountId: &key.Account, AccessKeyId: &key.ID, SecretAccessKey: secretOf(key)}, nil
}

// accountID finds the id of an account that is given by id or name. Accounts are
// never deleted and never change their names, so what it finds stays true.
func (s *Service) accountID(ctx context.Context, ref string) (id string, err error) {
	err = s.store.View(ctx, func(v *store.Snap) error {
		a := s.iam.AccountByRef(v, ref)
		if a == nil {
			return errNoAccount(ref)
		}
		id = a.ID
		return nil
	})
	return id, err
}

func errNoAccount(ref string) error {
	return arcaapi.NotFoundException.Errorf("There is no account %s.", ref)
}

// accountsPerPage is how many accounts ListAccounts returns unless told otherwise.
const accountsPerPage = 100

// ListAccounts lists the accounts of the server in the order of their ids.
func (s *Service) ListAccounts(ctx context.Context, c *call.Call, in *arcaapi.ListAccountsInput) (*arcaapi.ListAccountsOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:ListAccounts", Resource: "*"}); err != nil {
		return nil, err
	}
	after, err := s.openPage(in.NextToken, question("ListAccounts"))
	if err != nil {
		return nil, err
	}
	most := accountsPerPage
	if in.MaxResults != nil {
		most = int(*in.MaxResults)
	}
	out := &arcaapi.ListAccountsOutput{}
	next := ""
	err = s.store.View(ctx, func(v *store.Snap) error {
		out.Accounts, next = []arcaapi.Account{}, ""
		s.iam.AccountsAfter(v, after, func(a *iam.Account) bool {
			if len(out.Accounts) == most {
				next = *out.Accounts[most-1].AccountId
				return false
			}
			out.Accounts = append(out.Accounts, shownAccount(a))
			return true
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.NextToken, err = s.sealPage(next, question("ListAccounts"))
	return out, err
}

func shownAccount(a *iam.Account) arcaapi.Account {
	created := time.UnixMilli(a.Created).UTC()
	return arcaapi.Account{
		AccountId: &a.ID, Name: &a.Name, CreatedDate: &created,
		Management: &a.Management, HasGuardrail: new(a.Guardrail != ""),
	}
}

// PutAccountGuardrail sets the policy that limits everybody in an account, its root
// included, from the next call on.
func (s *Service) PutAccountGuardrail(ctx context.Context, c *call.Call, in *arcaapi.PutAccountGuardrailInput) (*arcaapi.PutAccountGuardrailOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:PutAccountGuardrail", Resource: "*"}); err != nil {
		return nil, err
	}
	if err := iam.CheckGuardrail(in.PolicyDocument); err != nil {
		return nil, arcaapi.MalformedPolicyDocumentException.Errorf("The policy cannot be a guardrail: %s.", err)
	}
	if err := s.setGuardrail(ctx, c, in.Account, in.PolicyDocument); err != nil {
		return nil, err
	}
	return &arcaapi.PutAccountGuardrailOutput{}, nil
}

// DeleteAccountGuardrail takes the guardrail of an account away. One that has none is
// left as it is.
func (s *Service) DeleteAccountGuardrail(ctx context.Context, c *call.Call, in *arcaapi.DeleteAccountGuardrailInput) (*arcaapi.DeleteAccountGuardrailOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:DeleteAccountGuardrail", Resource: "*"}); err != nil {
		return nil, err
	}
	if err := s.setGuardrail(ctx, c, in.Account, ""); err != nil {
		return nil, err
	}
	return &arcaapi.DeleteAccountGuardrailOutput{}, nil
}

func (s *Service) setGuardrail(ctx context.Context, c *call.Call, ref, text string) error {
	id, err := s.accountID(ctx, ref)
	if err != nil {
		return err
	}
	return c.Update(ctx, s.store, func(tx *store.Tx) error {
		err := s.iam.PutGuardrail(tx, id, text)
		if errors.Is(err, iam.ErrNoAccount) {
			return errNoAccount(ref)
		}
		return err
	})
}

// GetAccountGuardrail shows the guardrail of an account.
func (s *Service) GetAccountGuardrail(ctx context.Context, c *call.Call, in *arcaapi.GetAccountGuardrailInput) (*arcaapi.GetAccountGuardrailOutput, error) {
	if err := c.Authorize(ctx, &call.Check{Action: "arca:GetAccountGuardrail", Resource: "*"}); err != nil {
		return nil, err
	}
	out := &arcaapi.GetAccountGuardrailOutput{}
	err := s.store.View(ctx, func(v *store.Snap) error {
		a := s.iam.AccountByRef(v, in.Account)
		switch {
		case a == nil:
			return errNoAccount(in.Account)
		case a.Guardrail == "":
			return arcaapi.NotFoundException.Errorf("Account %s has no guardrail.", a.ID)
		}
		out.AccountId, out.PolicyDocument = &a.ID, &a.Guardrail
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
