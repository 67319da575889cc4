# A secret with all that can be set, replicated to another region.
resource "aws_secretsmanager_secret" "app" {
  name                           = "prod/app"
  description                    = var.changed ? "The application's login" : "The login of the application"
  recovery_window_in_days        = var.changed ? 8 : 7
  force_overwrite_replica_secret = true
  tags = {
    team  = var.changed ? "search" : "platform"
    stage = "prod"
  }

  replica {
    region = "eu-west-1"
  }
  dynamic "replica" {
    for_each = var.changed ? ["ap-south-1"] : []
    content {
      region = replica.value
    }
  }
}

# A changed string replaces the version: the old one loses its labels first.
resource "aws_secretsmanager_secret_version" "app" {
  secret_id     = aws_secretsmanager_secret.app.id
  secret_string = jsonencode({ username = "app", password = var.changed ? "second" : "first" })
}

resource "aws_secretsmanager_secret_policy" "app" {
  secret_arn          = aws_secretsmanager_secret.app.arn
  block_public_policy = true
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OwnAccount"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:root" }
      Action    = var.changed ? ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"] : ["secretsmanager:GetSecretValue"]
      Resource  = "*"
    }]
  })
}

# Bytes, and labels of one's own.
resource "aws_secretsmanager_secret" "blob" {
  name                    = "prod/blob"
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "blob" {
  secret_id      = aws_secretsmanager_secret.blob.id
  secret_binary  = base64encode("0123456789")
  version_stages = var.changed ? ["AWSCURRENT", "BLUE", "GREEN"] : ["AWSCURRENT", "BLUE"]
}

# A value that Terraform's state never holds.
ephemeral "aws_secretsmanager_random_password" "unseen" {
  password_length = 40
}

resource "aws_secretsmanager_secret" "unseen" {
  name                    = "prod/unseen"
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "unseen" {
  secret_id                = aws_secretsmanager_secret.unseen.id
  secret_string_wo         = ephemeral.aws_secretsmanager_random_password.unseen.random_password
  secret_string_wo_version = var.changed ? 2 : 1
}

# A schedule, for a secret whose first value the rotation function is to make.
data "aws_lambda_function" "rotate" {
  function_name = "keyturn-rotate-mysql"
}

resource "aws_lambda_permission" "rotate" {
  statement_id   = var.changed ? "SecretsManagerMayRotate" : "SecretsManager"
  function_name  = data.aws_lambda_function.rotate.function_name
  action         = "lambda:InvokeFunction"
  principal      = "secretsmanager.amazonaws.com"
  source_account = data.aws_caller_identity.current.account_id
}

resource "aws_secretsmanager_secret" "scheduled" {
  name_prefix             = "scheduled/"
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_rotation" "scheduled" {
  secret_id           = aws_secretsmanager_secret.scheduled.id
  rotation_lambda_arn = data.aws_lambda_function.rotate.arn
  rotate_immediately  = false
  depends_on          = [aws_lambda_permission.rotate]

  rotation_rules {
    schedule_expression = var.changed ? "rate(10 days)" : "cron(0 4 1 * ? *)"
    duration            = var.changed ? "3h" : "2h"
  }
}

data "aws_secretsmanager_secret" "app" {
  name       = aws_secretsmanager_secret.app.name
  depends_on = [aws_secretsmanager_secret_policy.app]
}

data "aws_secretsmanager_secret_version" "app" {
  secret_id  = aws_secretsmanager_secret.app.id
  version_id = aws_secretsmanager_secret_version.app.version_id
}

data "aws_secretsmanager_secret_versions" "app" {
  secret_id          = aws_secretsmanager_secret.app.id
  include_deprecated = true
  depends_on         = [aws_secretsmanager_secret_version.app]
}

data "aws_secretsmanager_secrets" "prod" {
  filter {
    name   = "name"
    values = [aws_secretsmanager_secret.app.name, aws_secretsmanager_secret.blob.name]
  }
  filter {
    name   = "tag-key"
    values = ["managed"]
  }
}

data "aws_secretsmanager_random_password" "any" {
  password_length     = 50
  exclude_punctuation = true
}
