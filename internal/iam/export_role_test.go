package iam

// FindBuiltin finds a built-in policy by its ARN.
func FindBuiltin(arn string) *BuiltinPolicy { return builtinPolicy(arn) }

// IssuerURL checks the URL of an OpenID Connect provider.
func IssuerURL(raw string) (string, error) { return issuerURL(raw) }
