# A cluster with its instance, and its login in a secret that rotates at once.
resource "aws_rds_cluster" "db" {
  cluster_identifier      = "orders"
  engine                  = "aurora-mysql"
  database_name           = "orders"
  master_username         = "boss"
  master_password         = var.password
  backup_retention_period = var.changed ? 3 : 2
  preferred_backup_window = "02:00-03:00"
  skip_final_snapshot     = true
  tags                    = { team = var.changed ? "search" : "platform" }

  lifecycle {
    ignore_changes = [master_password] # the rotation's from now on
  }
}

resource "aws_rds_cluster_instance" "db" {
  identifier         = "orders-1"
  cluster_identifier = aws_rds_cluster.db.id
  engine             = aws_rds_cluster.db.engine
  instance_class     = "db.t4g.medium"
  promotion_tier     = 1
  tags               = { team = var.changed ? "search" : "platform" }
}

resource "aws_secretsmanager_secret" "db" {
  name                    = "orders/boss"
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "db" {
  secret_id = aws_secretsmanager_secret.db.id
  secret_string = jsonencode({
    engine   = "mysql"
    host     = aws_rds_cluster.db.endpoint
    port     = aws_rds_cluster.db.port
    username = aws_rds_cluster.db.master_username
    password = var.password
  })
}

resource "aws_secretsmanager_secret_rotation" "db" {
  secret_id           = aws_secretsmanager_secret.db.id
  rotation_lambda_arn = data.aws_lambda_function.rotate.arn
  depends_on          = [aws_secretsmanager_secret_version.db, aws_rds_cluster_instance.db, aws_lambda_permission.rotate]

  rotation_rules {
    automatically_after_days = var.changed ? 14 : 30
  }
}

data "aws_rds_cluster" "db" {
  cluster_identifier = aws_rds_cluster.db.id
  depends_on         = [aws_rds_cluster_instance.db]
}

# A cluster whose master user RDS manages, with its secret.
resource "aws_rds_cluster" "managed" {
  cluster_identifier          = "managed"
  engine                      = "aurora-mysql"
  master_username             = "boss"
  manage_master_user_password = true
  skip_final_snapshot         = true
}
