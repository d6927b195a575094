# A job's handle means something to this process only, so it does not leave the module.
function ConvertTo-CsbJob {
    param($Document)
    $job = ConvertTo-CsbObject $Document 'CsBackup.Job'
    $job.PSObject.Properties.Remove('Handle')
    $job
}
