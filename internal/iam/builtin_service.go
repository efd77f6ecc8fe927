package iam

// servicePolicies are the built-in policies for the use of one service.
func servicePolicies() []BuiltinPolicy {
	return []BuiltinPolicy{
		{Path: "/", Name: "SecretsManagerReadWrite", Description: "Allows everything in Secrets Manager and what its rotation functions need, but not the making of roles.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "SecretsAndWhatTheyReferTo",
      "Effect": "Allow",
      "Action": [
        "secretsmanager:*",
        "kms:DescribeKey",
        "kms:ListAliases",
        "kms:ListKeys",
        "lambda:ListFunctions",
        "tag:GetResources"
      ],
      "Resource": "*"
    },
    {
      "Sid": "RotationFunctions",
      "Effect": "Allow",
      "Action": [
        "lambda:AddPermission",
        "lambda:CreateFunction",
        "lambda:GetFunction",
        "lambda:InvokeFunction",
        "lambda:UpdateFunctionConfiguration"
      ],
      "Resource": "arn:*:lambda:*:*:function:SecretsManager*"
    }
  ]
}`},
		{Path: "/", Name: "AWSSecretsManagerClientReadOnlyAccess", Description: "Allows reading and describing secrets, those under customer keys included.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "ReadSecrets",
      "Effect": "Allow",
      "Action": ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"],
      "Resource": "arn:*:secretsmanager:*:*:secret:*"
    },
    {
      "Sid": "OpenThemWithTheirKeys",
      "Effect": "Allow",
      "Action": "kms:Decrypt",
      "Resource": "arn:*:kms:*:*:key/*",
      "Condition": {
        "StringLike": {
          "kms:ViaService": "secretsmanager.*.amazonaws.com",
          "kms:EncryptionContext:SecretARN": "arn:*:secretsmanager:*:*:secret:*"
        }
      }
    }
  ]
}`},
		{Path: "/", Name: "IAMFullAccess", Description: "Allows everything in IAM.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "iam:*",
        "organizations:DescribeAccount",
        "organizations:DescribeOrganization",
        "organizations:DescribeOrganizationalUnit",
        "organizations:DescribePolicy",
        "organizations:ListChildren",
        "organizations:ListParents",
        "organizations:ListPolicies",
        "organizations:ListPoliciesForTarget",
        "organizations:ListRoots",
        "organizations:ListTargetsForPolicy"
      ],
      "Resource": "*"
    }
  ]
}`},
		{Path: "/", Name: "IAMReadOnlyAccess", Description: "Allows reading everything in IAM and simulating its policies.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "iam:GenerateCredentialReport",
        "iam:GenerateServiceLastAccessedDetails",
        "iam:Get*",
        "iam:List*",
        "iam:SimulateCustomPolicy",
        "iam:SimulatePrincipalPolicy"
      ],
      "Resource": "*"
    }
  ]
}`},
		{Path: "/", Name: "AWSKeyManagementServicePowerUser", Description: "Allows making and describing KMS keys, not using or deleting them.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "kms:CreateAlias",
        "kms:CreateKey",
        "kms:DeleteAlias",
        "kms:Describe*",
        "kms:GenerateRandom",
        "kms:Get*",
        "kms:List*",
        "kms:TagResource",
        "kms:UntagResource",
        "iam:ListGroups",
        "iam:ListRoles",
        "iam:ListUsers"
      ],
      "Resource": "*"
    }
  ]
}`},
		{Path: "/", Name: "AWSCloudTrail_FullAccess", Description: "Allows everything in CloudTrail.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "Trails",
      "Effect": "Allow",
      "Action": [
        "cloudtrail:*",
        "kms:CreateAlias",
        "kms:CreateKey",
        "kms:ListAliases",
        "kms:ListKeys",
        "lambda:ListFunctions",
        "iam:GetRolePolicy",
        "iam:GetUser",
        "iam:ListRoles"
      ],
      "Resource": "*"
    },
    {
      "Sid": "DeliveryRole",
      "Effect": "Allow",
      "Action": "iam:PassRole",
      "Resource": "*",
      "Condition": {"StringEquals": {"iam:PassedToService": "cloudtrail.amazonaws.com"}}
    }
  ]
}`},
		{Path: "/", Name: "AWSCloudTrail_ReadOnlyAccess", Description: "Allows reading trails and looking up events.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["cloudtrail:Describe*", "cloudtrail:Get*", "cloudtrail:List*", "cloudtrail:LookupEvents"],
      "Resource": "*"
    }
  ]
}`},
		{Path: "/", Name: "AWSLambda_FullAccess", Description: "Allows everything in Lambda, and giving functions their roles.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "Functions",
      "Effect": "Allow",
      "Action": [
        "lambda:*",
        "kms:DescribeKey",
        "kms:ListAliases",
        "iam:GetPolicy",
        "iam:GetPolicyVersion",
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:ListAttachedRolePolicies",
        "iam:ListRolePolicies",
        "iam:ListRoles",
        "logs:DescribeLogGroups",
        "tag:GetResources"
      ],
      "Resource": "*"
    },
    {
      "Sid": "RolesOfFunctions",
      "Effect": "Allow",
      "Action": "iam:PassRole",
      "Resource": "*",
      "Condition": {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    },
    {
      "Sid": "LogsOfFunctions",
      "Effect": "Allow",
      "Action": ["logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents"],
      "Resource": "arn:*:logs:*:*:log-group:/aws/lambda/*"
    }
  ]
}`},
		{Path: "/", Name: "AWSLambda_ReadOnlyAccess", Description: "Allows reading everything in Lambda and the roles and logs of functions.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "Functions",
      "Effect": "Allow",
      "Action": [
        "lambda:Get*",
        "lambda:List*",
        "kms:ListAliases",
        "iam:GetPolicy",
        "iam:GetPolicyVersion",
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:ListAttachedRolePolicies",
        "iam:ListRolePolicies",
        "iam:ListRoles",
        "logs:DescribeLogGroups",
        "tag:GetResources"
      ],
      "Resource": "*"
    },
    {
      "Sid": "LogsOfFunctions",
      "Effect": "Allow",
      "Action": ["logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents"],
      "Resource": "arn:*:logs:*:*:log-group:/aws/lambda/*"
    }
  ]
}`},
		{Path: "/service-role/", Name: "AWSLambdaBasicExecutionRole", Description: "Allows a function to write its log.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
      "Resource": "*"
    }
  ]
}`},
		{Path: "/service-role/", Name: "AWSLambdaRole", Description: "Allows a service to invoke functions.", Text: `
{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "*"}
  ]
}`},
	}
}
