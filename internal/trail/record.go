package trail

import (
	"bytes"
	"slices"
	"time"
)

// record is what the index and the filters need of a line. Its slices point into the
// line, and its memory is used again for the next one.
type record struct {
	time                                     int64 // Unix seconds
	id, name, source, region, account        []byte
	userName, accessKey, errorCode, sourceIP []byte
	principal                                []byte // ARN of the caller
	readOnly                                 bool
	failed                                   bool // it has an error code or message
	resources                                []resource
	caller                                   identity
	secretID, newName, answerARN, detailID   []byte
	iamUser, iamRole, iamGroup, iamPolicy    []byte
	iamPolicyARN, iamKey                     []byte
	assumed, function                        []byte // as the caller named role and function

	known *identities // nil: every userIdentity is read
}

type resource struct {
	kind string
	name []byte
}

// The types of resources that are not among a record's resources but in its
// parameters.
const (
	secretType    = "AWS::SecretsManager::Secret"
	userType      = "AWS::IAM::User"
	roleType      = "AWS::IAM::Role"
	groupType     = "AWS::IAM::Group"
	policyType    = "AWS::IAM::Policy"
	accessKeyType = "AWS::IAM::AccessKey"
	keyType       = "AWS::KMS::Key"
	functionType  = "AWS::Lambda::Function"
)

// kindOf spares the usual types a copy of their own.
func kindOf(b []byte) string {
	switch string(b) {
	case keyType:
		return keyType
	case secretType:
		return secretType
	case roleType:
		return roleType
	case functionType:
		return functionType
	}
	return string(b)
}

// read takes a line apart. It returns false for bytes that are no record: they have
// no time, no name or no id, or are not JSON as far as it had to be looked at.
func (r *record) read(line []byte) bool {
	*r = record{resources: r.resources[:0], known: r.known}
	c := cursor{b: line}
	if !c.enter('{') {
		return false
	}
	var at []byte
	for first := true; ; first = false {
		name, done, ok := c.member(first)
		if !ok {
			return false
		}
		if done {
			break
		}
		switch string(name) {
		case "eventTime":
			at, ok = c.str()
		case "eventID":
			r.id, ok = c.str()
		case "eventName":
			r.name, ok = c.str()
		case "eventSource":
			r.source, ok = c.str()
		case "awsRegion":
			r.region, ok = c.str()
		case "recipientAccountId":
			r.account, ok = c.str()
		case "errorCode":
			r.errorCode, ok = c.str()
		case "errorMessage":
			r.failed = c.peek() == '"' // events of services have no code
			ok = c.skip()
		case "sourceIPAddress":
			r.sourceIP, ok = c.str()
		case "readOnly":
			r.readOnly = c.peek() == 't'
			ok = c.skip()
		case "userIdentity":
			ok = r.identity(&c)
		case "resources":
			ok = r.listed(&c)
		case "requestParameters":
			ok = r.parameters(&c)
		case "responseElements":
			ok = r.answer(&c)
		case "additionalEventData":
			ok = r.details(&c)
		default:
			ok = c.skip()
		}
		if !ok {
			return false
		}
	}
	if c.peek() != 0 || c.i < len(c.b) {
		return false // something follows the object
	}
	r.failed = r.failed || len(r.errorCode) > 0
	t, ok := parseTime(at)
	if !ok || len(r.id) == 0 || len(r.name) == 0 {
		return false
	}
	r.time = t
	r.userName = r.user()
	r.principal, r.accessKey = r.caller.arn, r.caller.accessKey
	r.derive()
	return true
}

func (r *record) identity(c *cursor) bool {
	r.caller = identity{}
	if c.peek() != '{' {
		return c.skip()
	}
	if r.known == nil {
		return r.caller.read(c)
	}
	start := c.i
	if k := r.known.find(c.b[start:]); k != nil {
		r.caller = k.identity
		c.i += len(k.raw)
		return true
	}
	if !r.caller.read(c) {
		return false
	}
	r.known.remember(c.b[start:c.i], r.caller)
	return true
}

// read reads an object.
func (id *identity) read(c *cursor) bool {
	c.enter('{')
	for first := true; ; first = false {
		name, done, ok := c.member(first)
		if !ok || done {
			return ok
		}
		switch string(name) {
		case "type":
			id.kind, ok = c.str()
		case "arn":
			id.arn, ok = c.str()
		case "userName":
			id.name, ok = c.str()
		case "accessKeyId":
			id.accessKey, ok = c.str()
		default:
			ok = c.skip()
		}
		if !ok {
			return false
		}
	}
}

// user is the name that CloudTrail's event history shows: of a user his own, of a
// role's session that of the session, of an account's root "root".
func (r *record) user() []byte {
	id := &r.caller
	switch string(id.kind) {
	case "AssumedRole":
		if i := bytes.LastIndexByte(id.arn, '/'); i >= 0 {
			return id.arn[i+1:]
		}
	case "Root":
		if len(id.name) == 0 {
			return []byte("root")
		}
	}
	return id.name
}

func (r *record) listed(c *cursor) bool {
	r.resources = r.resources[:0]
	if !c.enter('[') {
		return c.skip()
	}
	for first := true; ; first = false {
		done, ok := c.element(first)
		if !ok || done {
			return ok
		}
		if !c.enter('{') {
			if !c.skip() {
				return false
			}
			continue
		}
		var one resource
		for first := true; ; first = false {
			name, done, ok := c.member(first)
			if !ok {
				return false
			}
			if done {
				break
			}
			switch string(name) {
			case "type":
				var kind []byte
				kind, ok = c.str()
				one.kind = kindOf(kind)
			case "ARN":
				one.name, ok = c.str()
			default:
				ok = c.skip()
			}
			if !ok {
				return false
			}
		}
		if len(one.name) > 0 {
			r.resources = append(r.resources, one)
		}
	}
}

func (r *record) parameters(c *cursor) bool {
	r.secretID, r.newName = nil, nil
	r.iamUser, r.iamRole, r.iamGroup, r.iamPolicy, r.iamPolicyARN, r.iamKey = nil, nil, nil, nil, nil, nil
	r.assumed, r.function = nil, nil
	if !c.enter('{') {
		return c.skip()
	}
	for first := true; ; first = false {
		name, done, ok := c.member(first)
		if !ok || done {
			return ok
		}
		switch string(name) {
		case "secretId":
			r.secretID, ok = c.str()
		case "name":
			r.newName, ok = c.str()
		case "userName":
			r.iamUser, ok = c.str()
		case "roleName":
			r.iamRole, ok = c.str()
		case "groupName":
			r.iamGroup, ok = c.str()
		case "policyName":
			r.iamPolicy, ok = c.str()
		case "policyArn":
			r.iamPolicyARN, ok = c.str()
		case "accessKeyId":
			r.iamKey, ok = c.str()
		case "roleArn":
			r.assumed, ok = c.str()
		case "functionName":
			r.function, ok = c.str()
		default:
			ok = c.skip()
		}
		if !ok {
			return false
		}
	}
}

func (r *record) answer(c *cursor) (ok bool) {
	r.answerARN, ok = only(c, "arn")
	return ok
}

func (r *record) details(c *cursor) (ok bool) {
	r.detailID, ok = only(c, "SecretId")
	return ok
}

// only reads one member of an object, a string. What is no object has none.
func only(c *cursor, want string) (value []byte, ok bool) {
	if !c.enter('{') {
		return nil, c.skip()
	}
	for first := true; ; first = false {
		name, done, ok := c.member(first)
		if !ok || done {
			return value, ok
		}
		if string(name) == want {
			value, ok = c.str()
		} else {
			ok = c.skip()
		}
		if !ok {
			return value, false
		}
	}
}

// derive adds the resources that only the parameters name. CloudTrail's event history
// finds events by these as well.
func (r *record) derive() {
	switch string(r.source) {
	case "secretsmanager.amazonaws.com":
		r.add(secretType, r.secretID)
		if string(r.name) == "CreateSecret" {
			r.add(secretType, r.newName)
		}
		r.add(secretType, r.answerARN)
		r.add(secretType, r.detailID)
	case "iam.amazonaws.com":
		r.add(userType, r.iamUser)
		r.add(roleType, r.iamRole)
		r.add(groupType, r.iamGroup)
		r.add(policyType, r.iamPolicyARN)
		r.add(policyType, r.iamPolicy)
		r.add(accessKeyType, r.iamKey)
	case "sts.amazonaws.com":
		r.add(roleType, r.assumed)
	case "lambda.amazonaws.com":
		r.add(functionType, r.function)
		r.add(functionType, bareFunction(r.function))
	}
}

// bareFunction is the name of a function that was named with its account or its version:
// 111122223333:function:name:version. Of an ARN it is nothing, which is taken apart like
// other ARNs.
func bareFunction(name []byte) []byte {
	if bytes.HasPrefix(name, []byte("arn:")) {
		return nil
	}
	if _, rest, ok := bytes.Cut(name, []byte("function:")); ok {
		name = rest
	}
	name, _, _ = bytes.Cut(name, []byte(":"))
	return name
}

func (r *record) add(kind string, name []byte) {
	if len(name) == 0 || slices.ContainsFunc(r.resources, func(o resource) bool { return bytes.Equal(o.name, name) }) {
		return
	}
	r.resources = append(r.resources, resource{kind, name})
}

// parseTime reads the one form in which records have times, and leaves others to the
// standard library.
func parseTime(b []byte) (int64, bool) {
	if len(b) == 20 && b[4] == '-' && b[7] == '-' && b[10] == 'T' && b[13] == ':' && b[16] == ':' && b[19] == 'Z' {
		n := func(i, digits int) (v int) {
			for _, d := range b[i : i+digits] {
				if d < '0' || d > '9' {
					return -1
				}
				v = v*10 + int(d-'0')
			}
			return v
		}
		year, month, day := n(0, 4), n(5, 2), n(8, 2)
		hour, minute, second := n(11, 2), n(14, 2), n(17, 2)
		if year >= 1970 && month >= 1 && month <= 12 && day >= 1 && day <= 28 &&
			hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && second >= 0 && second < 60 {
			return unixDays(year, month, day)*86400 + int64(hour*3600+minute*60+second), true
		}
	}
	t, err := time.Parse(time.RFC3339, string(b))
	if err != nil || t.Unix() < 0 {
		return 0, false
	}
	return t.Unix(), true
}

// unixDays counts the days from 1970 to a date of the Gregorian calendar. Years begin
// in March here, so that the day that comes and goes is a year's last one.
func unixDays(year, month, day int) int64 {
	if month <= 2 {
		year, month = year-1, month+12
	}
	return int64(365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 719469)
}
