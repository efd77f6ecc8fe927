package iam

// generalPolicies are the built-in policies that speak of several services.
func generalPolicies() []BuiltinPolicy {
	return []BuiltinPolicy{
		{Path: "/", Name: "AdministratorAccess", Description: "Allows everything.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": "*", "Resource": "*"}
  ]
}`},
		{Path: "/", Name: "AWSDenyAll", Description: "Denies everything, whatever other policies allow.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {"Sid": "DenyAll", "Effect": "Deny", "Action": "*", "Resource": "*"}
  ]
}`},
		{Path: "/", Name: "PowerUserAccess", Description: "Allows everything but the management of identities, organizations and accounts.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "AllServices",
      "Effect": "Allow",
      "NotAction": ["account:*", "iam:*", "organizations:*"],
      "Resource": "*"
    },
    {
      "Sid": "WhatServicesAskFor",
      "Effect": "Allow",
      "Action": [
        "account:GetAccountInformation",
        "account:ListRegions",
        "iam:CreateServiceLinkedRole",
        "iam:DeleteServiceLinkedRole",
        "iam:ListRoles",
        "organizations:DescribeEffectivePolicy",
        "organizations:DescribeOrganization"
      ],
      "Resource": "*"
    }
  ]
}`},
		{Path: "/", Name: "ReadOnlyAccess", Description: "Allows reading everything but the values of secrets.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "cloudtrail:Describe*",
        "cloudtrail:Get*",
        "cloudtrail:List*",
        "cloudtrail:LookupEvents",
        "iam:Generate*",
        "iam:Get*",
        "iam:List*",
        "iam:Simulate*",
        "kms:Describe*",
        "kms:Get*",
        "kms:List*",
        "lambda:Get*",
        "lambda:List*",
        "logs:Describe*",
        "logs:FilterLogEvents",
        "logs:Get*",
        "logs:List*",
        "organizations:Describe*",
        "organizations:List*",
        "secretsmanager:Describe*",
        "secretsmanager:GetResourcePolicy",
        "secretsmanager:List*",
        "sts:GetAccessKeyInfo",
        "sts:GetCallerIdentity",
        "sts:GetSessionToken",
        "tag:Get*"
      ],
      "Resource": "*"
    }
  ]
}`},
		{Path: "/job-function/", Name: "ViewOnlyAccess", Description: "Allows listing what there is, without its contents.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "cloudtrail:DescribeTrails",
        "cloudtrail:ListTrails",
        "cloudtrail:LookupEvents",
        "iam:GetAccountSummary",
        "iam:GetLoginProfile",
        "iam:List*",
        "kms:ListKeys",
        "kms:ListResourceTags",
        "lambda:List*",
        "logs:Describe*",
        "logs:ListTagsForResource",
        "organizations:List*"
      ],
      "Resource": "*"
    }
  ]
}`},
		{Path: "/", Name: "SecurityAudit", Description: "Allows reading how everything is configured and protected.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "cloudtrail:Describe*",
        "cloudtrail:GetEventSelectors",
        "cloudtrail:GetInsightSelectors",
        "cloudtrail:GetTrail",
        "cloudtrail:GetTrailStatus",
        "cloudtrail:List*",
        "cloudtrail:LookupEvents",
        "iam:GenerateCredentialReport",
        "iam:GenerateServiceLastAccessedDetails",
        "iam:Get*",
        "iam:List*",
        "iam:SimulateCustomPolicy",
        "iam:SimulatePrincipalPolicy",
        "kms:Describe*",
        "kms:Get*",
        "kms:List*",
        "lambda:GetAccountSettings",
        "lambda:GetFunctionConfiguration",
        "lambda:GetFunctionEventInvokeConfig",
        "lambda:GetLayerVersionPolicy",
        "lambda:GetPolicy",
        "lambda:List*",
        "logs:Describe*",
        "logs:ListTagsForResource",
        "organizations:Describe*",
        "organizations:List*",
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetResourcePolicy",
        "secretsmanager:ListSecretVersionIds",
        "secretsmanager:ListSecrets",
        "sts:GetAccessKeyInfo",
        "tag:GetResources",
        "tag:GetTagKeys"
      ],
      "Resource": "*"
    }
  ]
}`},
	}
}
