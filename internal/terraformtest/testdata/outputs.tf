# What the data sources read.
output "read" {
  sensitive = true
  value = {
    account  = data.aws_caller_identity.current.account_id
    arn      = data.aws_secretsmanager_secret.app.arn
    policy   = data.aws_secretsmanager_secret.app.policy
    value    = data.aws_secretsmanager_secret_version.app.secret_string
    versions = length(data.aws_secretsmanager_secret_versions.app.versions)
    names    = sort(data.aws_secretsmanager_secrets.prod.names)
    random   = length(data.aws_secretsmanager_random_password.any.random_password)
    replicas = sort(aws_secretsmanager_secret.app.replica[*].region)
    members  = data.aws_rds_cluster.db.cluster_members
    master   = startswith(split(":secret:", aws_rds_cluster.managed.master_user_secret[0].secret_arn)[1], "rds!cluster-")
  }
}

# By what each resource is imported.
output "imports" {
  value = {
    "aws_secretsmanager_secret.app"                = aws_secretsmanager_secret.app.arn
    "aws_secretsmanager_secret_version.app"        = "${aws_secretsmanager_secret.app.arn}|${aws_secretsmanager_secret_version.app.version_id}"
    "aws_secretsmanager_secret_policy.app"         = aws_secretsmanager_secret.app.arn
    "aws_secretsmanager_secret.blob"               = aws_secretsmanager_secret.blob.arn
    "aws_secretsmanager_secret_version.blob"       = "${aws_secretsmanager_secret.blob.arn}|${aws_secretsmanager_secret_version.blob.version_id}"
    "aws_secretsmanager_secret.unseen"             = aws_secretsmanager_secret.unseen.arn
    "aws_secretsmanager_secret.scheduled"          = aws_secretsmanager_secret.scheduled.arn
    "aws_secretsmanager_secret_rotation.scheduled" = aws_secretsmanager_secret.scheduled.arn
    "aws_secretsmanager_secret.db"                 = aws_secretsmanager_secret.db.arn
    "aws_secretsmanager_secret_version.db"         = "${aws_secretsmanager_secret.db.arn}|${aws_secretsmanager_secret_version.db.version_id}"
    "aws_secretsmanager_secret_rotation.db"        = aws_secretsmanager_secret.db.arn
    "aws_lambda_permission.rotate"                 = "keyturn-rotate-mysql/${aws_lambda_permission.rotate.statement_id}"
    "aws_rds_cluster.db"                           = aws_rds_cluster.db.id
    "aws_rds_cluster_instance.db"                  = aws_rds_cluster_instance.db.id
    "aws_rds_cluster.managed"                      = aws_rds_cluster.managed.id
  }
}
