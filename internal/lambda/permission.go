package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"arca/internal/api/lambdaapi"
	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/policy"
	"arca/internal/store"
)

// document is a function's policy as it is written. Statements stay as they are.
type document struct {
	Version   string
	ID        string `json:"Id"`
	Statement []json.RawMessage
}

// statement is one of a function's policy.
type statement struct {
	Sid       string
	Effect    policy.Effect
	Principal any
	Action    string
	Resource  string
	Condition map[string]map[string]string `json:",omitempty"`
}

// encode writes JSON without escaping what only HTML needs escaped.
func encode(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", fmt.Errorf("encode policy: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// statements reads a function's policy in the form in which it is kept.
func statements(text string) (document, error) {
	doc := document{Version: string(policy.Version2012), ID: "default"}
	if text == "" {
		return doc, nil
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return doc, fmt.Errorf("read policy of function: %w", err)
	}
	return doc, nil
}

// find returns the position of the statement with a Sid, -1 without one.
func (d *document) find(sid string) int {
	return slices.IndexFunc(d.Statement, func(raw json.RawMessage) bool {
		var s struct{ Sid string }
		return json.Unmarshal(raw, &s) == nil && s.Sid == sid
	})
}

// newStatement is the statement that a request asks for.
func newStatement(f *Function, in *lambdaapi.AddPermissionInput) (*statement, error) {
	st := &statement{Sid: in.StatementId, Effect: policy.Allow, Action: in.Action, Resource: f.ARN()}
	switch p := in.Principal; {
	case p == "*":
		st.Principal = p
	case arn.ValidAccount(p):
		st.Principal = map[string]string{"AWS": "arn:" + arn.PartitionAWS + ":iam::" + p + ":root"}
	case arn.IsARN(p):
		st.Principal = map[string]string{"AWS": p}
	case strings.Contains(p, "."):
		st.Principal = map[string]string{"Service": p}
	default:
		return nil, errPrincipal()
	}
	equals := map[string]string{}
	if in.SourceAccount != nil {
		equals["AWS:SourceAccount"] = *in.SourceAccount
	}
	if in.EventSourceToken != nil {
		equals["lambda:EventSourceToken"] = *in.EventSourceToken
	}
	if in.PrincipalOrgID != nil {
		if in.Principal != "*" {
			return nil, lambdaapi.InvalidParameterValueException.Errorf("The principal must be * when PrincipalOrgID is given.")
		}
		equals["aws:PrincipalOrgID"] = *in.PrincipalOrgID
	}
	st.Condition = map[string]map[string]string{}
	if len(equals) > 0 {
		st.Condition["StringEquals"] = equals
	}
	if in.SourceArn != nil {
		st.Condition["ArnLike"] = map[string]string{"AWS:SourceArn": *in.SourceArn}
	}
	return st, nil
}

func errPrincipal() error {
	return lambdaapi.InvalidParameterValueException.Errorf("The provided principal was invalid. Please check the principal and try again.")
}

// AddPermission adds a statement to the policy of a function.
func (s *Service) AddPermission(ctx context.Context, c *call.Call, in *lambdaapi.AddPermissionInput) (*lambdaapi.AddPermissionOutput, error) {
	n, err := named(c, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	if in.FunctionUrlAuthType != nil || isTrue(in.InvokedViaFunctionUrl) {
		return nil, lambdaapi.InvalidParameterValueException.Errorf("Function URLs are not supported by this server.")
	}
	var added string
	err = c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.load(ctx, c, tx.Snap, n, "AddPermission", contextKey("lambda:Principal", in.Principal))
		if err != nil {
			return err
		}
		if n.qualifier == latest {
			return lambdaapi.InvalidParameterValueException.Errorf("We currently do not support adding policies for $LATEST.")
		}
		f := old.clone()
		if added, err = s.addStatement(tx.Snap, f, in); err != nil {
			return err
		}
		s.functions.Put(tx, f.key(), f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &lambdaapi.AddPermissionOutput{Statement: &added}, nil
}

// addStatement adds to the policy of f what a request asks for, and returns it as text.
func (s *Service) addStatement(v *store.Snap, f *Function, in *lambdaapi.AddPermissionInput) (string, error) {
	if err := checkRevision(in.RevisionId, f.PolicyRevision, "GetPolicy"); err != nil {
		return "", err
	}
	doc, err := statements(s.iam.ShownPolicy(v, f.Policy))
	if err != nil {
		return "", err
	}
	if doc.find(in.StatementId) >= 0 {
		return "", lambdaapi.ResourceConflictException.Errorf("The statement id (%s) provided already exists. Please provide a new statement id, or remove the existing statement.", in.StatementId)
	}
	st, err := newStatement(f, in)
	if err != nil {
		return "", err
	}
	added, err := encode(st)
	if err != nil {
		return "", err
	}
	doc.Statement = append(doc.Statement, json.RawMessage(added))
	shown, err := encode(doc)
	if err != nil {
		return "", err
	}
	if len(shown) > maxPolicyBytes {
		return "", lambdaapi.PolicyLengthExceededException.Errorf("The final policy size (%d) is bigger than the limit (%d).", len(shown), maxPolicyBytes)
	}
	if _, err := policy.ParseResourcePolicy(shown); err != nil {
		return "", lambdaapi.InvalidParameterValueException.Wrap(err, "The provided principal was invalid. Please check the principal and try again.")
	}
	stored, known, err := s.iam.StoredPolicy(v, shown)
	if err != nil {
		return "", fmt.Errorf("store policy of function %s: %w", f.Name, err)
	}
	if !known {
		return "", errPrincipal()
	}
	f.Policy, f.PolicyRevision = stored, newRevision()
	return added, nil
}

// RemovePermission takes a statement out of the policy of a function.
func (s *Service) RemovePermission(ctx context.Context, c *call.Call, in *lambdaapi.RemovePermissionInput) (*lambdaapi.RemovePermissionOutput, error) {
	n, err := named(c, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	return nil, c.Update(ctx, s.store, func(tx *store.Tx) error {
		old, err := s.load(ctx, c, tx.Snap, n, "RemovePermission")
		if err != nil {
			return err
		}
		if err := checkRevision(in.RevisionId, old.PolicyRevision, "GetPolicy"); err != nil {
			return err
		}
		doc, err := statements(old.Policy)
		if err != nil {
			return err
		}
		at := doc.find(in.StatementId)
		if at < 0 {
			return lambdaapi.ResourceNotFoundException.Errorf("Statement %s is not found in resource policy.", in.StatementId)
		}
		f := old.clone()
		f.Policy, f.PolicyRevision = "", ""
		if doc.Statement = slices.Delete(doc.Statement, at, at+1); len(doc.Statement) > 0 {
			if f.Policy, err = encode(doc); err != nil {
				return err
			}
			f.PolicyRevision = newRevision()
		}
		s.functions.Put(tx, f.key(), f)
		return nil
	})
}

// GetPolicy shows the policy of a function. Users and roles are shown by ARN, those that
// are gone by the unique id they had.
func (s *Service) GetPolicy(ctx context.Context, c *call.Call, in *lambdaapi.GetPolicyInput) (*lambdaapi.GetPolicyOutput, error) {
	n, err := named(c, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	var out *lambdaapi.GetPolicyOutput
	err = s.store.View(ctx, func(v *store.Snap) error {
		f, err := s.load(ctx, c, v, n, "GetPolicy")
		if err != nil {
			return err
		}
		if f.Policy == "" {
			return lambdaapi.ResourceNotFoundException.Errorf("The resource you requested does not exist.")
		}
		out = &lambdaapi.GetPolicyOutput{Policy: new(s.iam.ShownPolicy(v, f.Policy)), RevisionId: &f.PolicyRevision}
		return nil
	})
	return out, err
}

// ServiceMayInvoke reports whether a service, such as secretsmanager.amazonaws.com, may
// invoke a function for a resource of an account: the function's own policy decides. One
// that cannot be read lets nobody.
func (s *Service) ServiceMayInvoke(f *Function, service, sourceAccount, sourceARN string, now time.Time) bool {
	if f.Policy == "" {
		return false
	}
	compiled, err := s.policies.Resource(f.Policy)
	if err != nil {
		return false
	}
	return policy.Evaluate(&policy.Request{
		Action: "lambda:InvokeFunction", Resource: f.ARN(), Account: f.Account,
		Caller:  policy.Caller{Kind: policy.ServiceCaller, Service: service},
		Context: serviceFacts(service, sourceAccount, sourceARN, f.Region, now),
	}, &policy.Policies{Resource: policy.Source{Policy: compiled, Name: "function policy"}}).Allowed
}
